#!/bin/sh
# Rebuild tern-tiny from the teacher model: train/train.sh STORIES260K.gguf WORKDIR [STEPS]
#
# STORIES260K.gguf is the GGUF conversion of Andrej Karpathy's 260K-parameter TinyStories model (MIT licence, not part of this
# repository). WORKDIR receives the corpus, checkpoints and the two files of the model. Nothing is installed by this script.
# Needed: Python 3 with torch (1.13 or newer), numpy and regex, and a word list at /usr/share/dict/words; in Debian the
# packages python3-torch, libopenblas0-pthread, python3-regex, wamerican.
#
# On two cores of an x86-64 server CPU that were shared with other work, the corpus took about 20 minutes and the training 48.
# All seeds are fixed. The same machine and library versions should give the same corpus; the shipped model's run followed the
# clock (train.py --minutes 48), so a run by step count is equivalent, not bit-identical.
set -eu
if [ $# -lt 2 ]; then
    sed -n '2,6p' "$0"
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
teacher=$1 work=$2 steps=${3:-1665}
python=${PYTHON:-python3}
[ -f "$teacher" ] || { echo "no such file: $teacher" >&2; exit 2; }
"$python" -c 'import torch, numpy, regex' || { echo "needed: torch, numpy, regex for $python" >&2; exit 2; }
[ -f /usr/share/dict/words ] || { echo "needed: /usr/share/dict/words (Debian: wamerican)" >&2; exit 2; }
mkdir -p "$work"

[ -f "$work/stories.jsonl" ] || {
    "$python" "$here/make_corpus.py" "$teacher" "$work/stories.part" --batches 72 --seed 1
    mv "$work/stories.part" "$work/stories.jsonl"
}
"$python" "$here/bpe.py" "$work/stories.jsonl" "$work/tokenizer.json"

# Threads that wait must sleep, or two busy cores grind each other down; and freed memory is kept, in huge pages.
OMP_WAIT_POLICY=PASSIVE OPENBLAS_NUM_THREADS=1 \
GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=2000000000:glibc.malloc.top_pad=67108864 \
    "$python" "$here/train.py" "$work/stories.jsonl" "$work/tokenizer.json" "$work/run" --steps "$steps" --seed 1
"$python" "$here/export.py" "$work/run/ckpt.pt" "$work/tokenizer.json" "$work/tern-tiny-i2_s.gguf"
"$python" "$here/sample.py" "$work/tern-tiny-i2_s.gguf" "$work/tokenizer.json" --words /usr/share/dict/words
"$python" "$here/sample.py" "$work/tern-tiny-i2_s.gguf" "$work/tokenizer.json" --held-out "$work/stories.jsonl"
