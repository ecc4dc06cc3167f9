#!/usr/bin/env bash
# Validates a GGUF: norm weights, projection weights, tokenizer, and that a greedy probe has words.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<USAGE
Usage: $0 <model.gguf> <tokenizer.json> [options of 'tern validate']

Checks that norm weights and projection weights are plausible for the model's architecture, that
the tokenizer and the GGUF agree, and that greedy output is made of words.

Exit codes: 0 all checks passed, 1 a check failed, 2 usage, 3 bad input, 4 the engine failed.

Example:
  $0 models/tern-tiny/tern-tiny-i2_s.gguf models/tern-tiny/tokenizer.json
USAGE
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
if [ $# -lt 2 ] || [[ $1 == -* || $2 == -* ]]; then
  usage >&2
  exit 2
fi
[ -e "$1" ] || { echo "ERROR: Model not found: $1" >&2; exit 3; }
[ -e "$2" ] || { echo "ERROR: Tokenizer not found: $2" >&2; exit 3; }

tern=$("$root/scripts/build.sh")
exec "$tern" validate "$@"
