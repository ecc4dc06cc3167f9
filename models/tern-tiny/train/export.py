#!/usr/bin/python3
"""Write a checkpoint of train.py and its tokenizer as a GGUF file (architecture bitnet-b1.58, linear weights I2_S)."""
import argparse, json, struct
import numpy as np
import torch

F32, F16, I2_S = 0, 1, 36


def pack_i2_s(w):
    """Ternary codes by w / mean|w|; 128 columns in 32 bytes (byte i: columns i, i+32, i+64, i+96 from the top bits down);
    after the last row one float32 scale in a 32-byte tail."""
    scale = w.abs().mean().clamp(min=1e-5)
    codes = ((w / scale).round().clamp(-1, 1) + 1).to(torch.uint8).numpy()
    assert codes.shape[1] % 128 == 0
    c = codes.reshape(-1, 4, 32)
    b = (c[:, 0] << 6) | (c[:, 1] << 4) | (c[:, 2] << 2) | c[:, 3]
    tail = np.zeros(8, np.float32)
    tail[0] = scale.item()
    return b.tobytes() + tail.tobytes()


def string(x):
    b = x.encode("utf-8")
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == "str":
        return struct.pack("<I", 8) + string(v)
    if kind == "strs":
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(string, v))
    if kind == "i32s":
        return struct.pack("<IIQ", 9, 5, len(v)) + struct.pack(f"<{len(v)}i", *v)
    code, fmt = {"u32": (4, "<I"), "f32": (6, "<f"), "bool": (7, "<?")}[kind]
    return struct.pack("<I", code) + struct.pack(fmt, v)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("checkpoint")
    ap.add_argument("tokenizer")
    ap.add_argument("out", help="the GGUF file")
    a = ap.parse_args()
    ck = torch.load(a.checkpoint, map_location="cpu")
    c, w = ck["config"], ck["model"]
    tj = json.load(open(a.tokenizer, encoding="utf-8"))
    ids = {**tj["model"]["vocab"], **{t["content"]: t["id"] for t in tj["added_tokens"]}}
    special = {t["id"] for t in tj["added_tokens"]}
    toks = sorted(ids, key=ids.get)
    assert [ids[t] for t in toks] == list(range(c["vocab"]))

    A = "bitnet-b1.58"
    kv = [("general.architecture", "str", A), ("general.name", "str", "tern-tiny"),
          ("general.license", "str", "MIT OR Apache-2.0"),
          ("general.file_type", "u32", 40), ("general.quantization_version", "u32", 2),
          (A + ".vocab_size", "u32", c["vocab"]), (A + ".context_length", "u32", c["ctx"]),
          (A + ".embedding_length", "u32", c["embd"]), (A + ".block_count", "u32", c["layers"]),
          (A + ".feed_forward_length", "u32", c["ff"]), (A + ".rope.dimension_count", "u32", c["head_dim"]),
          (A + ".attention.head_count", "u32", c["heads"]), (A + ".attention.head_count_kv", "u32", c["kv_heads"]),
          (A + ".attention.layer_norm_rms_epsilon", "f32", 1e-5), (A + ".rope.freq_base", "f32", c["rope_base"]),
          ("tokenizer.ggml.model", "str", "gpt2"), ("tokenizer.ggml.pre", "str", "llama-bpe"),
          ("tokenizer.ggml.tokens", "strs", toks),
          ("tokenizer.ggml.token_type", "i32s", [3 if i in special else 1 for i in range(len(toks))]),
          ("tokenizer.ggml.merges", "strs", tj["model"]["merges"]),
          ("tokenizer.ggml.bos_token_id", "u32", ids["<|begin_of_text|>"]),
          ("tokenizer.ggml.eos_token_id", "u32", ids["<|end_of_text|>"]),
          ("tokenizer.ggml.add_bos_token", "bool", True)]

    tensors = []

    def norm(name, x):
        tensors.append((name, [x.numel()], F32, x.numpy().astype("<f4").tobytes()))

    def lin(name, x):
        tensors.append((name, [x.shape[1], x.shape[0]], I2_S, pack_i2_s(x)))

    tensors.append(("token_embd.weight", [c["embd"], c["vocab"]], F16, w["emb"].numpy().astype("<f2").tobytes()))
    norm("output_norm.weight", w["out_norm"])
    D = c["head_dim"]
    for i in range(c["layers"]):
        s, d = f"layers.{i}.", f"blk.{i}."
        q, k, v = w[s + "qkv"].split([c["heads"] * D, c["kv_heads"] * D, c["kv_heads"] * D])
        gate, up = w[s + "gate_up"].split([c["ff"], c["ff"]])
        norm(d + "attn_norm.weight", w[s + "attn_norm"])
        norm(d + "attn_sub_norm.weight", w[s + "attn_sub"])
        lin(d + "attn_q.weight", q)
        lin(d + "attn_k.weight", k)
        lin(d + "attn_v.weight", v)
        lin(d + "attn_output.weight", w[s + "out"])
        norm(d + "ffn_norm.weight", w[s + "ffn_norm"])
        norm(d + "ffn_sub_norm.weight", w[s + "ffn_sub"])
        lin(d + "ffn_gate.weight", gate)
        lin(d + "ffn_up.weight", up)
        lin(d + "ffn_down.weight", w[s + "down"])

    with open(a.out, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(kv)))
        for k, kind, v in kv:
            f.write(string(k) + value(kind, v))
        off = 0
        for name, dims, typ, data in tensors:
            f.write(string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", typ, off))
            off += -(-len(data) // 32) * 32
        f.write(b"\0" * (-f.tell() % 32))
        for _, _, _, data in tensors:
            f.write(data + b"\0" * (-len(data) % 32))
        size = f.tell()
    print(f"{a.out}: {len(tensors)} tensors, {size} bytes, checkpoint of step {ck['step']}")


if __name__ == "__main__":
    main()
