#!/usr/bin/python3
"""Train the ternary model on a corpus made by make_corpus.py with a tokenizer made by bpe.py.

Optimizers: Muon (orthogonalised momentum) for the ternary matrices, Adam for the embedding and the norm gains. The learning
rate warms up, stays, then falls linearly to zero. Rows are 256 tokens first and `--long` (512) in the last quarter.
With --minutes the schedule follows the clock; with --steps it follows the step count and a run can be repeated.
Checkpoints go to <out>/ckpt.pt every few minutes; a run that was interrupted goes on from there.
"""
import argparse, json, math, os, random, time
import numpy as np
import torch
import model as M
from bpe import Tokenizer
from make_corpus import synthetic


def pack(docs, T, rng, pad, mix=True):
    """Rows of T + 1 tokens: documents placed whole where they fit (best fit over open rows), longer ones split.
    With `mix` the documents of a row are then put in random order: otherwise the short ones, which fill gaps, would never come first, and
    a prompt comes first. Returns [n, T + 1] ids and the length used in each row."""
    pieces = []
    for d in docs:
        while len(d) > T + 1:
            pieces.append(d[:T + 1])
            d = d[T:]
        if len(d) > 1:
            pieces.append(d)
    rng.shuffle(pieces)
    open_rows, rows = [], []  # a row: [length, documents]
    for p in pieces:
        fits = [r for r in open_rows if r[0] + len(p) <= T + 1]
        best = max(fits, key=lambda r: r[0]) if fits else [0, []]
        if not fits:
            open_rows.append(best)
        best[0] += len(p)
        best[1].append(p)
        if best[0] > T - 8 or len(open_rows) > 64:
            full = max(open_rows, key=lambda r: r[0])
            open_rows = [r for r in open_rows if r is not full]
            rows.append(full)
    rows += open_rows
    rng.shuffle(rows)
    ids = np.full((len(rows), T + 1), pad, np.int64)
    for i, (n, parts) in enumerate(rows):
        if mix:
            rng.shuffle(parts)
        ids[i, :n] = [t for p in parts for t in p]
    return torch.from_numpy(ids), torch.tensor([n for n, _ in rows])


def targets(ids, used):
    t = ids[:, 1:].clone()
    t[torch.arange(1, ids.shape[1])[None] >= used[:, None]] = -1
    return t


class Batches:
    def __init__(self, stories, tok, specials, seed):
        self.stories, self.tok, self.sp = stories, tok, specials
        self.rng, self.T, self.rows = random.Random(seed), 0, None
        self.epochs, self.late = 0, False

    def next(self, B, T, late):
        if T != self.T or late != self.late or self.at + B > len(self.rows):
            share = 0.8 if late else 1 / 6 if self.epochs == 0 else 2 / 5  # synthetic documents per story
            syn = synthetic(self.rng, int(len(self.stories) * share), 0.5 if late else 0.35)
            syn = [self.tok.encode(s) for s in syn]
            docs = [[self.sp[0]] + list(d) + [self.sp[1]] for d in list(self.stories) + syn]
            self.rng.shuffle(docs)
            self.rows, self.used = pack(docs, T, self.rng, self.sp[1])
            self.T, self.at, self.late = T, 0, late
            self.epochs += 1
        ids, used = self.rows[self.at:self.at + B], self.used[self.at:self.at + B]
        self.at += B
        return ids[:, :-1], targets(ids, used)


def orthogonalize(g):
    """Newton-Schulz iteration towards the nearest (semi-)orthogonal matrix, in bfloat16."""
    x = g.bfloat16()
    x = x / (x.float().norm() + 1e-7).bfloat16()
    flip = x.shape[0] > x.shape[1]
    if flip:
        x = x.t().contiguous()
    for _ in range(5):
        a = x @ x.t()
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.t() if flip else x).float()


class Optimizer:
    def __init__(self, model):
        self.mats, self.rest = [], []
        for m in model.layers:
            c = model.c
            self.mats += [(m.qkv, model.parts_qkv), (m.out, [c.embd]), (m.gate_up, [c.ff, c.ff]), (m.down, [c.embd])]
            self.rest += [m.attn_norm, m.attn_sub, m.ffn_norm, m.ffn_sub]
        self.rest += [model.emb, model.out_norm]
        self.buf = [torch.zeros_like(p) for p, _ in self.mats]
        self.adam = torch.optim.Adam(self.rest, lr=1.0, betas=(0.9, 0.98), eps=1e-9)

    @torch.no_grad()
    def step(self, lr_mat, lr_rest, decay):
        for (p, parts), b in zip(self.mats, self.buf):
            b.mul_(0.95).add_(p.grad, alpha=0.05)
            u = p.grad.lerp(b, 0.95)
            u = torch.cat([orthogonalize(x) * max(1.0, x.shape[0] / x.shape[1]) ** 0.5 for x in u.split(parts)])
            p.mul_(1 - lr_mat * decay).add_(u, alpha=-lr_mat)
        torch.nn.utils.clip_grad_norm_(self.rest, 1.0)
        self.adam.param_groups[0]["lr"] = lr_rest
        self.adam.step()


@torch.no_grad()
def evaluate(model, rows, used):
    """Exact float32 arithmetic, the embedding rounded to float16 as in the exported file."""
    M.FAST, keep = False, model.emb.data
    model.emb.data = keep.half().float()
    t = targets(rows, used)
    total = n = 0
    for i in range(0, len(rows), 8):
        c = int((t[i:i + 8] >= 0).sum())
        total += model.loss(rows[i:i + 8, :-1], t[i:i + 8]).item() * c
        n += c
    M.FAST, model.emb.data = True, keep
    return total / n


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("corpus")
    ap.add_argument("tokenizer")
    ap.add_argument("out", help="folder for ckpt.pt and loss.tsv")
    ap.add_argument("--minutes", type=float, default=0)
    ap.add_argument("--steps", type=int, default=0)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--lr", type=float, default=0.02, help="Muon learning rate of the ternary matrices")
    ap.add_argument("--lr-rest", type=float, default=0.003, help="Adam learning rate of embedding and norms")
    ap.add_argument("--tokens", type=int, default=4096, help="tokens per step")
    ap.add_argument("--long", type=int, default=512, help="row length in the last quarter")
    ap.add_argument("--held-out", type=int, default=100, help="stories kept for the held-out loss")
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)
    tok = Tokenizer.load(a.tokenizer)
    sp = [tok.specials["<|begin_of_text|>"], tok.specials["<|end_of_text|>"]]
    docs = [np.array(tok.encode(json.loads(l)), np.uint16) for l in open(a.corpus, encoding="utf-8")]
    held, docs = docs[:a.held_out], docs[a.held_out:]
    print(f"{len(docs)} stories, {sum(map(len, docs))} tokens; held out {len(held)} stories", flush=True)
    hrows = pack([[sp[0]] + d.tolist() + [sp[1]] for d in held], 256, random.Random(0), sp[1], mix=False)

    cfg = M.Config(vocab=len(tok.vocab) + len(tok.specials))
    model = M.Model(cfg)
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    opt, data = Optimizer(model), Batches(docs, tok, sp, a.seed)
    step = tokens = 0
    spent = 0.0
    ckpt = os.path.join(a.out, "ckpt.pt")
    log_path = os.path.join(a.out, "loss.tsv")
    if os.path.exists(ckpt):
        s = torch.load(ckpt)
        model.load_state_dict(s["model"])
        opt.buf = s["buf"]
        opt.adam.load_state_dict(s["adam"])
        step, tokens, spent = s["step"], s["tokens"], s["spent"]
        data.rng.seed(a.seed + step)
        data.epochs = s.get("epochs", 1)
        print("going on from step", step, flush=True)
    else:
        open(log_path, "w").write("step\ttokens\ttrain_loss\theld_out_loss\tseconds\n")

    def save():
        torch.save({"config": vars(cfg), "model": model.state_dict(), "buf": opt.buf, "adam": opt.adam.state_dict(), "step": step,
                    "tokens": tokens, "epochs": data.epochs, "spent": spent + time.time() - t0}, ckpt + ".tmp")
        os.replace(ckpt + ".tmp", ckpt)

    t0 = last_save = time.time()
    run, count = 0.0, 0
    while True:
        elapsed = spent + time.time() - t0
        progress = step / a.steps if a.steps else elapsed / (60 * a.minutes)
        if progress >= 1:
            break
        T = 256 if progress < 0.75 else a.long
        ids, tgt = data.next(a.tokens // T, T, progress >= 0.6)
        lr = min(1.0, (step + 1) / 100) * min(1.0, (1 - progress) / 0.7)
        for p in model.parameters():
            p.grad = None
        loss = model.loss(ids, tgt)
        loss.backward()
        opt.step(a.lr * lr, a.lr_rest * lr, 0.05 if progress < 0.5 else 0.0)
        step += 1
        tokens += int((tgt >= 0).sum())
        run, count = run + loss.item(), count + 1
        if step % 20 == 0:
            print(f"step {step} progress {progress:.3f} tokens {tokens} loss {run / count:.4f} {tokens / (spent + time.time() - t0):.0f} tokens/s "
                  f"epoch {data.epochs}", flush=True)
        if step % 100 == 0:
            h = evaluate(model, *hrows)
            open(log_path, "a").write(f"{step}\t{tokens}\t{run / count:.4f}\t{h:.4f}\t{spent + time.time() - t0:.0f}\n")
            print(f"held-out {h:.4f}", flush=True)
            run, count = 0.0, 0
        if time.time() - last_save > 180:
            save()
            last_save = time.time()
    save()
    h = evaluate(model, *hrows)
    open(log_path, "a").write(f"{step}\t{tokens}\t{run / max(count, 1):.4f}\t{h:.4f}\t{spent + time.time() - t0:.0f}\n")
    print(f"done: {step} steps, {tokens} tokens, held-out loss {h:.4f} nats per token, {spent + time.time() - t0:.0f} s", flush=True)


if __name__ == "__main__":
    main()
