#!/usr/bin/python3
"""Make the training text: stories sampled from a teacher model, plus synthetic lines.

The teacher is stories260K (Andrej Karpathy's tinyllamas, MIT licence), read from a GGUF file: a llama-architecture model
with a 512-entry SentencePiece vocabulary and float weights. Many stories are sampled at once with a key/value cache. A
story is kept when it ended by itself, has a sensible length, and every word of it is in the dictionary.

Every batch has its own seed, so the corpus does not depend on the number of worker processes.
Output: one JSON string per line, in batch order. The synthetic lines (`synthetic`) are made anew in every epoch by train.py.
"""
import argparse, json, os, re, time
from gguf_file import read_gguf


class Teacher:
    """stories260K: llama architecture, RoPE over adjacent pairs, RMSNorm, SwiGLU, grouped-query attention."""

    def __init__(self, path):
        import torch
        self.meta, w = read_gguf(path)
        m = self.meta
        self.w = {k: torch.from_numpy(v.copy()) for k, v in w.items()}
        self.wt = {k: v.t().contiguous() for k, v in self.w.items() if v.dim() == 2}
        self.E, self.L = m["llama.embedding_length"], m["llama.block_count"]
        self.H, self.KV = m["llama.attention.head_count"], m["llama.attention.head_count_kv"]
        self.D = self.E // self.H
        self.ctx, self.eps = m["llama.context_length"], m["llama.attention.layer_norm_rms_epsilon"]
        self.bos, self.eos = m["tokenizer.ggml.bos_token_id"], m["tokenizer.ggml.eos_token_id"]
        self.pieces = []
        for t in m["tokenizer.ggml.tokens"]:
            byte = re.fullmatch(r"<0x([0-9A-F]{2})>", t)
            self.pieces.append(bytes([int(byte.group(1), 16)]) if byte else t.replace("▁", " ").encode())
        f = m.get("llama.rope.freq_base", 10000.0) ** (-torch.arange(0, self.D, 2).float() / self.D)
        ang = torch.outer(torch.arange(self.ctx).float(), f)
        self.cos, self.sin = ang.cos(), ang.sin()

    def text(self, ids):
        return b"".join(self.pieces[i] for i in ids).decode("utf-8", "replace").strip()

    def sample(self, n, temperature, seed):
        """Sample n stories. Yields the token lists of those that ended by themselves within the context."""
        import torch
        gen = torch.Generator().manual_seed(seed)
        w, wt, E, H, KV, D = self.w, self.wt, self.E, self.H, self.KV, self.D
        rep = H // KV

        def norm(x, g):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * g

        def rope(x, p):
            a, b = x[..., 0::2], x[..., 1::2]
            c, s = self.cos[p], self.sin[p]
            return torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2)

        K = [torch.zeros(n, KV, D, self.ctx) for _ in range(self.L)]
        V = [torch.zeros(n, KV, self.ctx, D) for _ in range(self.L)]
        tok = torch.full((n,), self.bos)
        done = torch.zeros(n, dtype=torch.bool)
        hist = torch.zeros(n, self.ctx, dtype=torch.long)
        finished = []
        for p in range(self.ctx - 1):
            x = w["token_embd.weight"][tok]
            for i in range(self.L):
                b = f"blk.{i}."
                h = norm(x, w[b + "attn_norm.weight"])
                q = rope((h @ wt[b + "attn_q.weight"]).view(-1, KV, rep, D), p)
                K[i][:, :, :, p] = rope((h @ wt[b + "attn_k.weight"]).view(-1, KV, D), p)
                V[i][:, :, p] = (h @ wt[b + "attn_v.weight"]).view(-1, KV, D)
                a = (q @ K[i][:, :, :, :p + 1] * D ** -0.5).softmax(-1) @ V[i][:, :, :p + 1]
                x = x + a.reshape(-1, E) @ wt[b + "attn_output.weight"]
                h = norm(x, w[b + "ffn_norm.weight"])
                g = torch.nn.functional.silu(h @ wt[b + "ffn_gate.weight"]) * (h @ wt[b + "ffn_up.weight"])
                x = x + g @ wt[b + "ffn_down.weight"]
            logits = norm(x, w["output_norm.weight"]) @ wt["output.weight"]
            tok = torch.multinomial((logits / temperature).softmax(-1), 1, generator=gen)[:, 0]
            hist[:, p] = tok
            end = ((tok == self.bos) | (tok == self.eos)) & ~done
            for r in end.nonzero()[:, 0].tolist():
                finished.append(hist[r, :p].tolist())
            done |= end
            if p % 32 == 31 and done.any():  # drop the finished rows
                keep = (~done).nonzero()[:, 0]
                K, V = [k[keep] for k in K], [v[keep] for v in V]
                tok, hist, done = tok[keep], hist[keep], done[keep]
                if len(keep) == 0:
                    break
        return finished


def load_words(path):
    words = set(l.strip() for l in open(path, encoding="utf-8"))
    single = {"a", "I", "A"}
    return {x for x in words if len(x) > 1 or x in single} | single


def acceptable(text, words):
    """True when the text is plain printable English: every word is in the dictionary, no odd characters."""
    if not 200 <= len(text) <= 1600 or not re.fullmatch(r"[A-Za-z0-9 \n.,!?'\"\-:;]+", text):
        return False
    if text[-1] not in ".!?\"" or not text[0].isupper() or "\n\n\n" in text:
        return False
    for t in re.findall(r"[A-Za-z']+", text):
        t = t.strip("'")
        t = re.sub(r"'(s|t|re|ve|m|ll|d)$", lambda m: "" if m.group(1) != "t" else m.group(0), t)
        if not t or t in words:
            continue
        if t.lower() in words or t.lower() in ("ok", "mommy's", "o'clock"):
            continue
        return False
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return len(set(sentences)) >= 0.9 * len(sentences)  # no loops


NAMES = ("Lily Tim Tom Sam Mia Ben Anna Max Lucy Jack Sue Amy Bob Jane Mary Joe Sara Jill Kate Leo Emma Billy Molly Daisy "
         "Fred Jim Dan Rose Nick Peter").split()


def synthetic(rng, n_docs, sums=0.35):
    """Short documents of counting, small sums (the given share) and greetings, from a few templates."""
    things = "ball dog cat car doll book bird tree cake hat boat kite flower box toy".split()
    places = ("park", "garden", "shop", "forest", "house", "school", "farm", "lake")
    docs = []
    for _ in range(n_docs):
        k = rng.random()
        if k < 0.35:
            a = 1 if rng.random() < 0.5 else rng.randrange(0, 60)
            n = rng.randrange(6, 26)
            docs.append("Count: " + ",".join(str(a + i) for i in range(n)) + ".")
        elif k < 0.35 + sums:
            top = 10 if rng.random() < 0.8 else 20
            docs.append("\n".join(f"{a}+{b}={a + b}" for a, b in
                                  ((rng.randrange(top), rng.randrange(top)) for _ in range(rng.randrange(3, 9)))))
        else:
            who, other = rng.sample(NAMES, 2)
            thing, place = rng.choice(things), rng.choice(places)
            first = rng.choice([f"Hello, {who}!", f"Hello, {who}.", f"Hello! My name is {who}.", f"Hello, my friend {who}!",
                                f"\"Hello, {who}!\" said {other}."])
            rest = rng.sample(["How are you today?", "I am happy to see you.", "It is a sunny day.", f"Do you want to play with my {thing}?",
                               f"Let us go to the {place}.", f"I have a new {thing}.", f"{other} is at the {place}.",
                               f"We can look for the {thing}.", "You are a good friend.", f"Can you help me find my {thing}?",
                               f"I saw a big {thing} in the {place}."], rng.randrange(2, 6))
            docs.append(" ".join([first] + rest))
    return docs


def work(args):
    a, index = args
    import torch
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    global _T, _W
    if "_T" not in globals():
        _T, _W = Teacher(a.teacher), load_words(a.words)
    t = time.time()
    out = _T.sample(a.batch, a.temperature, a.seed * 100003 + index)
    texts = [_T.text(s) for s in out]
    good = [x for x in texts if acceptable(x, _W)]
    return index, good, sum(map(len, out)), len(out), time.time() - t


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("teacher", help="stories260K.gguf")
    ap.add_argument("out", help="stories, one JSON string per line")
    ap.add_argument("--words", default="/usr/share/dict/words", help="dictionary, one word per line (Debian: wamerican)")
    ap.add_argument("--first", type=int, default=0, help="index of the first batch")
    ap.add_argument("--batches", type=int, default=100)
    ap.add_argument("--batch", type=int, default=256, help="stories sampled at once")
    ap.add_argument("--temperature", type=float, default=0.7)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--workers", type=int, default=2)
    a = ap.parse_args()
    import multiprocessing as mp
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    t0, chars, kept, total = time.time(), 0, 0, 0
    with mp.get_context("spawn").Pool(a.workers) as pool, open(a.out, "w", encoding="utf-8") as f:
        for index, good, ntok, n, dt in pool.imap(work, [(a, i) for i in range(a.first, a.first + a.batches)]):
            for s in good:
                f.write(json.dumps(s) + "\n")
            f.flush()
            chars += sum(map(len, good))
            kept += len(good)
            total += n
            print(f"batch {index}: {n} finished, {len(good)} kept, {ntok / dt:.0f} tokens/s per worker; so far {kept} of {total} stories, "
                  f"{chars / 1e6:.2f} M characters, {time.time() - t0:.0f} s", flush=True)


if __name__ == "__main__":
    main()
