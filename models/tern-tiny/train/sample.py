#!/usr/bin/python3
"""Greedy text, and the held-out loss, from the exported GGUF file (not from a checkpoint). Needs numpy and regex only.

The arithmetic is that of the file format: integer activations and codes, out = dot / s * scale, float16 key/value cache.
"""
import argparse, json
import numpy as np
from bpe import Tokenizer
from gguf_file import read_gguf

f32 = np.float32


class Model:
    def __init__(self, path):
        self.meta, self.w = read_gguf(path)
        m = {k.split("bitnet-b1.58.")[-1]: v for k, v in self.meta.items()}
        self.L, self.E, self.H, self.KV = m["block_count"], m["embedding_length"], m["attention.head_count"], m["attention.head_count_kv"]
        self.eps, self.ctx, self.D = f32(m["attention.layer_norm_rms_epsilon"]), m["context_length"], m["rope.dimension_count"]
        ang = np.outer(np.arange(self.ctx), m["rope.freq_base"] ** (-np.arange(0, self.D, 2) / self.D))
        self.cos, self.sin = np.cos(ang).astype(f32)[:, None], np.sin(ang).astype(f32)[:, None]
        self.reset()

    def reset(self):
        self.K = np.zeros((self.L, self.ctx, self.KV, self.D), np.float16)
        self.V = np.zeros((self.L, self.ctx, self.KV, self.D), np.float16)

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w[name]

    def bitlinear(self, x, name):
        codes, scale = self.w[name]
        s = f32(127) / np.maximum(np.abs(x).max(-1, keepdims=True), f32(1e-5))
        q = np.clip(np.rint(x * s), -128, 127)
        return (q @ codes.T) / s * scale  # the dot products are integers below 2^24: exact in float32

    def forward(self, ids, p=0):
        """Logits [n, vocab] of the tokens ids at positions p, p+1, ..."""
        w, n, D, h = self.w, len(ids), self.D, self.D // 2
        cos, sin = self.cos[p:p + n], self.sin[p:p + n]

        def rope(x):
            a, b = x[..., :h], x[..., h:]
            return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

        x = w["token_embd.weight"][ids]
        mask = np.triu(np.full((n, p + n), -np.inf, f32), p + 1)
        for i in range(self.L):
            b = f"blk.{i}."
            y = self.norm(x, b + "attn_norm.weight")
            q = rope(self.bitlinear(y, b + "attn_q.weight").reshape(n, self.H, D))
            self.K[i, p:p + n] = rope(self.bitlinear(y, b + "attn_k.weight").reshape(n, self.KV, D))
            self.V[i, p:p + n] = self.bitlinear(y, b + "attn_v.weight").reshape(n, self.KV, D)
            a = np.empty((n, self.H, D), f32)
            for head in range(self.H):
                g = head * self.KV // self.H
                k, v = self.K[i, :p + n, g].astype(f32), self.V[i, :p + n, g].astype(f32)
                s = q[:, head] @ k.T * f32(D ** -0.5) + mask
                s = np.exp(s - s.max(-1, keepdims=True))
                a[:, head] = s / s.sum(-1, keepdims=True) @ v
            x = x + self.bitlinear(self.norm(a.reshape(n, -1), b + "attn_sub_norm.weight"), b + "attn_output.weight")
            y = self.norm(x, b + "ffn_norm.weight")
            r = np.maximum(self.bitlinear(y, b + "ffn_gate.weight"), 0)
            y = r * r * self.bitlinear(y, b + "ffn_up.weight")
            x = x + self.bitlinear(self.norm(y, b + "ffn_sub_norm.weight"), b + "ffn_down.weight")
        return self.norm(x, "output_norm.weight") @ w["token_embd.weight"].T

    def greedy(self, ids, n, eos):
        self.reset()
        out, p = [], 0
        logits = self.forward(ids)[-1]
        p = len(ids)
        while len(out) < n and p < self.ctx:
            t = int(logits.argmax())
            out.append(t)
            if t == eos:
                break
            logits = self.forward([t], p)[-1]
            p += 1
        return out


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("gguf")
    ap.add_argument("tokenizer")
    ap.add_argument("--prompt", action="append", help="may be repeated; the default is the four prompts of the model card")
    ap.add_argument("-n", type=int, default=300, help="tokens to generate at most")
    ap.add_argument("--words", help="dictionary: also count the generated words that are not in it")
    ap.add_argument("--held-out", help="corpus file: print the mean loss over its first --stories stories instead")
    ap.add_argument("--stories", type=int, default=100)
    a = ap.parse_args()
    m, tok = Model(a.gguf), Tokenizer.load(a.tokenizer)
    meta = m.meta
    bos, eos = meta["tokenizer.ggml.bos_token_id"], meta["tokenizer.ggml.eos_token_id"]
    all_ids = {**tok.vocab, **tok.specials}
    assert meta["tokenizer.ggml.tokens"] == sorted(all_ids, key=all_ids.get), "vocabularies differ"
    assert [tuple(x.split(" ")) for x in meta["tokenizer.ggml.merges"]] == sorted(tok.rank, key=tok.rank.get), "merges differ"
    if a.held_out:
        total = count = 0
        for _, line in zip(range(a.stories), open(a.held_out, encoding="utf-8")):
            ids = ([bos] + tok.encode(json.loads(line)) + [eos])[:m.ctx + 1]
            m.reset()
            z = m.forward(ids[:-1]).astype(np.float64)
            z -= z.max(-1, keepdims=True)
            total += (np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), ids[1:]]).sum()
            count += len(z)
        print(f"held-out loss of the exported file: {total / count:.4f} nats per token over {count} tokens")
        return
    for p in a.prompt or ["Once upon a time", "2+2=", "Hello", "Count: 1,2,3,"]:
        out = m.greedy([bos] + tok.encode(p), a.n, eos)
        text = p + tok.decode(out)
        end = "end of text" if out[-1] == eos else "cut"
        print(f"--- {p!r}: {len(out)} tokens, {end}\n{text}")
        if a.words:
            from make_corpus import load_words
            import re
            words = load_words(a.words)
            ws = [w.strip("'") for w in re.findall(r"[A-Za-z']+", text)]
            bad = [w for w in ws if w and w not in words and w.lower() not in words and re.sub(r"'\w+$", "", w).lower() not in words
                   and re.sub(r"'\w+$", "", w) not in words]
            print(f"({len(ws)} words, {len(bad)} not in the dictionary: {bad})")


if __name__ == "__main__":
    main()
