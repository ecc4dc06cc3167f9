#!/usr/bin/env bash
# Cross-validation sweep: installs and builds what is missing, then runs `tern sweep`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<USAGE
Usage: $0 <model.gguf> <tokenizer.json> [output_dir] [options of 'tern sweep']
       $0                          sweeps the bundled model into ./crossval-results

Runs three deterministic scenarios through the engine, compares tokens, logits and every traced
tensor with a reference, and writes reports.

  model.gguf      the model
  tokenizer.json  its tokenizer
  output_dir      where the results go (default: ./crossval-results)
  options         --reference R, --require-reference, --scenarios FILE.toml, ... ('tern sweep --help')

Environment:
  CROSSVAL_TIMEOUT_SECS  seconds for each engine run (default: 180)
  RAYON_NUM_THREADS      threads of each engine (default: 4)
  BITNET_CPP_DIR         C++ reference (default: \$HOME/.cache/bitnet_cpp)
  BITNET_DETERMINISTIC=1, BITNET_SEED=42 and BITNET_TRACE_DIR are set for each run.

Exit codes: 0 parity (or no reference, and none required), 1 divergence, 2 usage, 3 bad input,
4 an engine failed or timed out, 5 no verdict possible.

Examples:
  $0
  $0 models/model.gguf models/tokenizer.json /tmp/crossval-sweep
  CROSSVAL_TIMEOUT_SECS=300 $0 model.gguf tokenizer.json
  $0 model.gguf tokenizer.json /tmp/crossval --reference pack:/data/pack --require-reference
USAGE
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
positional=0
for argument in "$@"; do
  [[ $argument == -* ]] && break
  positional=$((positional + 1))
done
if [ $# -eq 0 ]; then
  set -- "$root/models/tern-tiny/tern-tiny-i2_s.gguf" "$root/models/tern-tiny/tokenizer.json" ./crossval-results
elif [ $positional -lt 2 ] || [ $positional -gt 3 ]; then
  usage >&2
  exit 2
fi
[ -e "$1" ] || { echo "ERROR: Model not found: $1" >&2; exit 3; }
[ -e "$2" ] || { echo "ERROR: Tokenizer not found: $2" >&2; exit 3; }

tern=$("$root/scripts/build.sh")
exec "$tern" sweep "$@"
