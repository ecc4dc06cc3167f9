"""The bitnet-b1.58 network with quantization-aware training, written for speed on a CPU.

Every linear layer of this architecture follows an RMSNorm, so the unit here is `NormBitLinear`: RMSNorm, rounding of the
activations to int8 per token, rounding of the weights to {-1, 0, +1} x mean|w| per tensor, matrix product. The gradient passes
both roundings unchanged (straight-through estimator); forward and backward are written out by hand.

The integer operands are exact in bfloat16 (|q| <= 128), so with `FAST` the products run in bfloat16: only the result of a
product is rounded, which matters little in training. Evaluation sets FAST = False and uses float32.
"""
import math
import torch

FAST = True
EPS = 1e-5


class Config:
    def __init__(self, vocab=2048, embd=256, ff=768, layers=5, heads=4, kv_heads=2, ctx=512, rope_base=10000.0):
        self.vocab, self.embd, self.ff, self.layers = vocab, embd, ff, layers
        self.heads, self.kv_heads, self.ctx, self.rope_base = heads, kv_heads, ctx, rope_base
        self.head_dim = embd // heads


def ternary(w):
    """(codes -1/0/+1 as float, scale) of one weight tensor."""
    scale = w.abs().mean().clamp(min=1e-5)
    return (w / scale).round_().clamp_(-1, 1), scale


def mm(a, b):
    """a @ b.t() with the operands in the fast or the exact type; the result is float32."""
    if FAST:
        return torch.nn.functional.linear(a.bfloat16(), b.bfloat16()).float()
    return torch.nn.functional.linear(a, b)


class NormBitLinear(torch.autograd.Function):
    """y = BitLinear(RMSNorm(x) * g) for a weight whose row blocks (`parts`) each have a scale of their own."""

    @staticmethod
    def forward(ctx, x, g, w, parts):
        r = torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS)
        xh = x * r
        y = xh * g
        s = 127.0 / y.abs().amax(-1, keepdim=True).clamp_(min=1e-5)
        q = y.mul_(s).round_().clamp_(-128, 127)
        codes, scales = zip(*[ternary(p) for p in w.split(parts)])
        codes = torch.cat(codes)
        scale = torch.cat([c.expand(n) for c, n in zip(scales, parts)])
        if FAST:
            q, codes = q.bfloat16(), codes.bfloat16()
        inv = 1.0 / s
        out = mm(q, codes).mul_(inv)
        out.mul_(scale)
        ctx.save_for_backward(xh, r, g, q, inv, codes, scale)
        return out

    @staticmethod
    def backward(ctx, d):
        xh, r, g, q, inv, codes, scale = ctx.saved_tensors
        dw = mm((d * inv).t(), q.t())
        dy = mm(d * scale, codes.t())
        dg = (dy * xh).sum(0)
        dy.mul_(g)
        c = (dy * xh).mean(-1, keepdim=True)
        dy.addcmul_(xh, c, value=-1).mul_(r)
        return dy, dg, dw, None


class Attention(torch.autograd.Function):
    """Causal grouped-query attention with NeoX RoPE. qkv: [B, T, (H + 2 KV) D]; output [B, T, H D].
    Query blocks of 128 rows look only at the keys up to their end."""

    @staticmethod
    def forward(ctx, qkv, cos, sin, heads, kv):
        B, T, _ = qkv.shape
        D = qkv.shape[2] // (heads + 2 * kv)
        rep, h = heads // kv, D // 2
        qkv = qkv.view(B, T, heads + 2 * kv, D)
        qk = qkv[:, :, :heads + kv]
        a, b = qk[..., :h], qk[..., h:]
        qk = torch.cat([a * cos - b * sin, a * sin + b * cos], -1).transpose(1, 2)
        q = qk[:, :heads].reshape(B * kv, rep, T, D).mul_(D ** -0.5)
        k = qk[:, heads:].reshape(B * kv, T, D)
        v = qkv[:, :, heads + kv:].transpose(1, 2).reshape(B * kv, T, D)
        out = torch.empty(B * kv, rep, T, D)
        probs = []
        C = 128
        for t in range(0, T, C):
            n = min(C, T - t)
            s = torch.bmm(q[:, :, t:t + n].reshape(B * kv, rep * n, D), k[:, :t + n].transpose(1, 2))
            m = torch.ones(n, n, dtype=torch.bool).triu_(1)
            s.view(B * kv, rep, n, t + n)[..., t:].masked_fill_(m, -math.inf)
            p = s.softmax(-1)
            out[:, :, t:t + n] = torch.bmm(p, v[:, :t + n]).view(B * kv, rep, n, D)
            probs.append(p)
        ctx.save_for_backward(q, k, v, cos, sin, *probs)
        ctx.dims = (B, T, heads, kv, D, C)
        return out.view(B, heads, T, D).transpose(1, 2).reshape(B, T, heads * D)

    @staticmethod
    def backward(ctx, d):
        q, k, v, cos, sin, *probs = ctx.saved_tensors
        B, T, heads, kv, D, C = ctx.dims
        rep, h = heads // kv, D // 2
        d = d.reshape(B, T, heads, D).transpose(1, 2).reshape(B * kv, rep, T, D)
        dq = torch.empty_like(q)
        dk, dv = torch.zeros_like(k), torch.zeros_like(v)
        for i, t in enumerate(range(0, T, C)):
            n = min(C, T - t)
            p = probs[i]
            do = d[:, :, t:t + n].reshape(B * kv, rep * n, D)
            dv[:, :t + n] += torch.bmm(p.transpose(1, 2), do)
            ds = torch._softmax_backward_data(torch.bmm(do, v[:, :t + n].transpose(1, 2)), p, -1, torch.float32)
            dq[:, :, t:t + n] = torch.bmm(ds, k[:, :t + n]).view(B * kv, rep, n, D)
            dk[:, :t + n] += torch.bmm(ds.transpose(1, 2), q[:, :, t:t + n].reshape(B * kv, rep * n, D))
        dq.mul_(D ** -0.5)
        out = torch.empty(B, T, heads + 2 * kv, D)
        dqk = torch.cat([dq.view(B, heads, T, D), dk.view(B, kv, T, D)], 1).transpose(1, 2)
        a, b = dqk[..., :h], dqk[..., h:]
        torch.add(a * cos, b * sin, out=out[:, :, :heads + kv, :h])
        torch.sub(b * cos, a * sin, out=out[:, :, :heads + kv, h:])
        out[:, :, heads + kv:] = dv.view(B, kv, T, D).transpose(1, 2)
        return out.view(B, T, -1), None, None, None, None


class Relu2Mul(torch.autograd.Function):
    """relu(gate)^2 * up, gate and up side by side in one tensor."""

    @staticmethod
    def forward(ctx, gu):
        n = gu.shape[-1] // 2
        r, u = gu[..., :n].relu(), gu[..., n:]
        ctx.save_for_backward(r, u)
        return (r * r).mul_(u)

    @staticmethod
    def backward(ctx, d):
        r, u = ctx.saved_tensors
        n = r.shape[-1]
        out = torch.empty(*r.shape[:-1], 2 * n)
        dr = d * r
        torch.mul(dr, r, out=out[..., n:])
        torch.mul(dr.mul_(2.0), u, out=out[..., :n])
        return out


class TiedLoss(torch.autograd.Function):
    """Mean cross-entropy of RMSNorm(x) g E^T over the targets >= 0. Rows are done in blocks, so that the logits stay in cache;
    the gradients are formed in the same pass."""

    @staticmethod
    def forward(ctx, x, emb, target):
        valid = target >= 0
        count = valid.sum().item()
        t = target.clamp(min=0)
        total, de = 0.0, torch.zeros_like(emb)
        dx = torch.empty_like(x)
        e = emb.bfloat16() if FAST else emb
        et = emb.t().contiguous()
        et = et.bfloat16() if FAST else et
        for i in range(0, x.shape[0], 512):
            xs, ts, vs = x[i:i + 512], t[i:i + 512, None], valid[i:i + 512, None]
            p = mm(xs, e)
            lse = p.logsumexp(-1, keepdim=True)
            total += ((lse - p.gather(1, ts)) * vs).sum().item()
            p.sub_(lse).exp_()
            p.scatter_add_(1, ts, torch.full_like(lse, -1.0))
            p.mul_(vs / count)
            dx[i:i + 512] = mm(p, et)
            de += mm(p.t(), xs.t())
        ctx.save_for_backward(dx, de)
        return torch.tensor(total / count)

    @staticmethod
    def backward(ctx, d):
        dx, de = ctx.saved_tensors
        return dx * d, de * d, None


class RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, g):
        r = torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS)
        xh = x * r
        ctx.save_for_backward(xh, r, g)
        return xh * g

    @staticmethod
    def backward(ctx, d):
        xh, r, g = ctx.saved_tensors
        dg = (d * xh).sum(0)
        d = d * g
        c = (d * xh).mean(-1, keepdim=True)
        return d.addcmul_(xh, c, value=-1).mul_(r), dg


class Model(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        P = torch.nn.Parameter
        E, F, D = c.embd, c.ff, c.head_dim
        self.emb = P(torch.randn(c.vocab, E) * 0.05)
        self.out_norm = P(torch.ones(E))
        self.parts_qkv = [c.heads * D, c.kv_heads * D, c.kv_heads * D]
        small = 1.0 / math.sqrt(2 * c.layers)
        self.layers = torch.nn.ModuleList()
        for _ in range(c.layers):
            m = torch.nn.Module()
            m.attn_norm, m.ffn_norm = P(torch.ones(E)), P(torch.ones(E))
            m.attn_sub, m.ffn_sub = P(torch.ones(c.heads * D)), P(torch.ones(F))
            m.qkv = P(torch.randn(sum(self.parts_qkv), E) * E ** -0.5)
            m.out = P(torch.randn(E, c.heads * D) * (c.heads * D) ** -0.5 * small)
            m.gate_up = P(torch.randn(2 * F, E) * E ** -0.5)
            m.down = P(torch.randn(E, F) * F ** -0.5 * small)
            self.layers.append(m)
        f = c.rope_base ** (-torch.arange(0, D, 2).float() / D)
        ang = torch.outer(torch.arange(c.ctx).float(), f)
        self.cos, self.sin = ang.cos()[:, None], ang.sin()[:, None]

    def hidden(self, ids):
        c = self.c
        B, T = ids.shape
        x = torch.nn.functional.embedding(ids.reshape(-1), self.emb)
        cos, sin = self.cos[:T], self.sin[:T]
        for m in self.layers:
            qkv = NormBitLinear.apply(x, m.attn_norm, m.qkv, self.parts_qkv)
            a = Attention.apply(qkv.view(B, T, -1), cos, sin, c.heads, c.kv_heads)
            x = x + NormBitLinear.apply(a.view(B * T, -1), m.attn_sub, m.out, [c.embd])
            h = Relu2Mul.apply(NormBitLinear.apply(x, m.ffn_norm, m.gate_up, [c.ff, c.ff]))
            x = x + NormBitLinear.apply(h, m.ffn_sub, m.down, [c.embd])
        return RmsNorm.apply(x, self.out_norm)

    def loss(self, ids, target):
        return TiedLoss.apply(self.hidden(ids), self.emb, target.reshape(-1))
