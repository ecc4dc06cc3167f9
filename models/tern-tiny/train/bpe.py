#!/usr/bin/python3
"""Train a byte-level BPE tokenizer and write it as a Hugging Face tokenizer.json; also the encoder used for training.

Alphabet: the 256 bytes in the GPT-2 byte-to-unicode mapping, ids 0..255 in byte order, then the merges in order, then the
three specials. Pre-tokenizer: the Llama-3 split. Pieces with a digit take no part in the merges, so numbers are spelled
digit by digit.
"""
import argparse, collections, heapq, json
import regex

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]


def bytes_to_unicode():
    bs = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    cs, n = bs[:], 0
    for b in range(256):
        if b not in bs:
            bs.append(b)
            cs.append(256 + n)
            n += 1
    return {b: chr(c) for b, c in zip(bs, cs)}


B2U = bytes_to_unicode()
U2B = {c: b for b, c in B2U.items()}


def pretokenize(text):
    return ["".join(B2U[b] for b in p.encode("utf-8")) for p in regex.findall(SPLIT, text)]


def train_bpe(texts, vocab_size):
    """The usual greedy BPE over piece counts; ties go to the pair that is smaller as text, so the result is fixed."""
    counts = collections.Counter()
    for t in texts:
        counts.update(pretokenize(t))
    words = [(list(w), c) for w, c in sorted(counts.items()) if not any(ch.isdigit() and ch.isascii() for ch in w)]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (w, c) in enumerate(words):
        for p in zip(w, w[1:]):
            pairs[p] += c
            where[p].add(i)
    heap = [(-c, p) for p, c in pairs.items()]
    heapq.heapify(heap)
    merges, known = [], set(B2U.values())
    while len(merges) < vocab_size - 256 - len(SPECIALS) and heap:
        c, p = heapq.heappop(heap)
        if pairs[p] != -c:
            if pairs[p] > 0:
                heapq.heappush(heap, (-pairs[p], p))
            continue
        if c == 0 or "".join(p) in known:
            continue  # the same string was already reached by another merge
        merges.append(p)
        known.add("".join(p))
        changed = set()
        for i in where.pop(p):
            w, n = words[i]
            for q in zip(w, w[1:]):
                pairs[q] -= n
                changed.add(q)
            out, k = [], 0
            while k < len(w):
                if k + 1 < len(w) and (w[k], w[k + 1]) == p:
                    out.append(w[k] + w[k + 1])
                    k += 2
                else:
                    out.append(w[k])
                    k += 1
            w[:] = out
            for q in zip(w, w[1:]):
                pairs[q] += n
                where[q].add(i)
                changed.add(q)
        for q in changed:
            if pairs[q] > 0:
                heapq.heappush(heap, (-pairs[q], q))
    return merges


def write_tokenizer(path, merges):
    toks = [B2U[b] for b in range(256)] + [a + b for a, b in merges]
    assert len(set(toks)) == len(toks)
    n = len(toks)
    added = [{"id": n + i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, s in enumerate(SPECIALS)]
    bos = SPECIALS[0]
    json.dump({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [], "special_tokens": {bos: {"id": bos, "ids": [n], "tokens": [bos]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": {t: i for i, t in enumerate(toks)}, "merges": [a + " " + b for a, b in merges]}},
        open(path, "w", encoding="utf-8"), ensure_ascii=False)


class Tokenizer:
    def __init__(self, vocab, merges, specials):
        self.vocab, self.specials = vocab, specials  # {token: id}, {content: id}
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(merges)}
        self.names = {i: t for t, i in vocab.items()}
        self.cache = {}

    @classmethod
    def load(cls, path):
        j = json.load(open(path, encoding="utf-8"))
        return cls(j["model"]["vocab"], j["model"]["merges"], {t["content"]: t["id"] for t in j["added_tokens"]})

    def piece(self, w):
        if w not in self.cache:
            if w in self.vocab:  # ignore_merges
                self.cache[w] = [self.vocab[w]]
            else:
                s = list(w)
                while len(s) > 1:
                    r, i = min((self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(s, s[1:])))
                    if r == 1 << 30:
                        break
                    s[i:i + 2] = [s[i] + s[i + 1]]
                self.cache[w] = [self.vocab[x] for x in s]
        return self.cache[w]

    def encode(self, text):
        """Ids of plain text, without BOS."""
        return [i for w in pretokenize(text) for i in self.piece(w)]

    def decode(self, ids):
        return bytes(U2B[c] for i in ids if i in self.names for c in self.names[i]).decode("utf-8", "replace")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("corpus", help="one JSON string per line")
    ap.add_argument("out", help="tokenizer.json")
    ap.add_argument("--vocab", type=int, default=2048)
    ap.add_argument("--stories", type=int, default=8000, help="train on the first so many lines")
    a = ap.parse_args()
    texts = [json.loads(l) for _, l in zip(range(a.stories), open(a.corpus, encoding="utf-8"))]
    import random
    from make_corpus import synthetic
    texts += synthetic(random.Random(0), len(texts) // 10)
    merges = train_bpe(texts, a.vocab)
    write_tokenizer(a.out, merges)
    t = Tokenizer.load(a.out)
    chars = sum(map(len, texts))
    ids = sum(len(t.encode(x)) for x in texts)
    assert all(t.decode(t.encode(x)) == x for x in texts[:1000])
    print(f"{len(texts)} texts, {chars} characters, {len(merges)} merges, {chars / ids:.2f} characters per token")


if __name__ == "__main__":
    main()
