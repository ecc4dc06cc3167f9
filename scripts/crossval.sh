#!/usr/bin/env bash
# Cross-validation test runner: the recordings of bitnet.cpp as tests, then a sweep of a model, if one is given.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<USAGE
Usage: $0 [model.gguf] [tokenizer.json]

Runs the tests that hold the engine against recordings of bitnet.cpp (ctest label 'golden'). With a
model, also sweeps it (run_crossval_sweep.sh) into ./crossval-results. Without tokenizer.json, the one
beside the model is taken, else the vocabulary in the GGUF.

Environment: that of run_crossval_sweep.sh; CROSSVAL_GGUF names the model where none is given.

Exit codes: 0 all passed, 1 a test failed; a sweep's own code otherwise.

Example:
  $0 models/tern-tiny/tern-tiny-i2_s.gguf
USAGE
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
[ $# -le 2 ] || { usage >&2; exit 2; }
model=${1:-${CROSSVAL_GGUF:-}}
tokenizer=${2:-}
if [ -n "$model" ]; then
  [ -e "$model" ] || { echo "ERROR: Model file not found: $model" >&2; exit 3; }
  if [ -z "$tokenizer" ]; then
    tokenizer=$(dirname "$model")/tokenizer.json
    [ -e "$tokenizer" ] || tokenizer=$model
  fi
fi

"$root/scripts/test.sh" -- -L golden || { echo "Cross-validation tests FAILED" >&2; exit 1; }
echo "Cross-validation tests PASSED"
if [ -n "$model" ]; then
  exec "$root/scripts/run_crossval_sweep.sh" "$model" "$tokenizer"
fi
