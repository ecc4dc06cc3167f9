#!/usr/bin/env bash
# One scenario, one verdict: a quick parity check that prints the receipt's summary.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<USAGE
Usage: $0 <model.gguf> [tokenizer.json] [options of 'tern sweep']
       $0                          checks the bundled model

Runs one short prompt, compares with the reference and prints the parity receipt's summary.
Without tokenizer.json, the one beside the model is taken, else the vocabulary in the GGUF.

Environment:
  CROSSVAL_TIMEOUT_SECS  seconds for each engine run (default: 180)
  BITNET_CPP_DIR         C++ reference (default: \$HOME/.cache/bitnet_cpp)

Exit codes: those of run_crossval_sweep.sh.

Examples:
  $0 models/model.gguf
  $0 models/model.gguf models/tokenizer.json
USAGE
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  "") set -- "$root/models/tern-tiny/tern-tiny-i2_s.gguf" "$root/models/tern-tiny/tokenizer.json" ;;
  -*) usage >&2; exit 2 ;;
esac
model=$1
shift
[ -e "$model" ] || { echo "ERROR: Model not found: $model" >&2; exit 3; }
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  tokenizer=$1
  shift
  [ -e "$tokenizer" ] || { echo "ERROR: Tokenizer not found: $tokenizer" >&2; exit 3; }
elif [ -e "$(dirname "$model")/tokenizer.json" ]; then
  tokenizer=$(dirname "$model")/tokenizer.json
else
  tokenizer=$model
fi

tern=$("$root/scripts/build.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/smoke.toml" <<TOML
[[scenario]]
name = "smoke"
prompt = "2+2="
max_tokens = 1
description = "Parity smoke test"
TOML

echo "Model: $model"
echo "Tokenizer: $tokenizer"
code=0
"$tern" sweep "$model" "$tokenizer" "$work/results" --scenarios "$work/smoke.toml" "$@" >"$work/table" || code=$?
receipt=$work/results/smoke/logits-comparison.json
[ -e "$receipt" ] || exit $code
grep -v '^Summary:' "$work/table"  # its folder goes away with this script

echo
echo "=== Parity Receipt Summary ==="
jq '{tokenizer: (.tokenizer | {kind, vocab_size}), quant, parity}' "$receipt"
case $(jq -r .parity.status "$receipt") in
  ok) echo "Parity validation PASSED" ;;
  rust_only) echo "No parity verdict: there was no reference to compare with (rust_only)" ;;
  *) echo "Parity validation FAILED" ;;
esac
exit $code
