"""Read a GGUF file: the teacher's float tensors, and the I2_S ones that export.py writes."""
import struct, sys
import numpy as np

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
F32, F16, I2_S = 0, 1, 36


def read_gguf(path):
    """Return (metadata, tensors) of a GGUF v3 file.

    Texts are str. A float16 or float32 tensor is a float32 array, last dimension first; an I2_S tensor is the pair of
    such an array of -1, 0, 1 and its scale.
    """
    b, pos = open(path, "rb").read(), 0

    def get(fmt):
        nonlocal pos
        v = struct.unpack_from(fmt, b, pos)[0]
        pos += struct.calcsize(fmt)
        return v

    def string():
        nonlocal pos
        n = get("<Q")
        pos += n
        return b[pos - n:pos].decode("utf-8")

    def value(t):
        if t == 8:
            return string()
        if t == 9:
            et, n = get("<I"), get("<Q")
            return [value(et) for _ in range(n)]
        return get(SCALARS[t])

    if get("4s") != b"GGUF" or get("<I") != 3:
        sys.exit("not a GGUF v3 file: " + path)
    n_tensors, n_kv = get("<Q"), get("<Q")
    meta = {}
    for _ in range(n_kv):
        k = string()
        meta[k] = value(get("<I"))
    infos = []
    for _ in range(n_tensors):
        name, n_dims = string(), get("<I")
        infos.append((name, [get("<Q") for _ in range(n_dims)], get("<I"), get("<Q")))
    base, tensors = -(-pos // 32) * 32, {}
    for name, dims, typ, offset in infos:
        n, at = int(np.prod(dims)), base + offset
        if typ == I2_S:
            rows = np.frombuffer(b, np.uint8, n // 4, at).reshape(-1, 1, 32)
            codes = (rows >> np.array([6, 4, 2, 0], np.uint8)[None, :, None]) & 3
            scale = np.frombuffer(b, "<f4", 1, at + n // 4)[0]
            tensors[name] = (codes.reshape(dims[::-1]).astype(np.float32) - 1, scale)
        else:
            dtype = {F32: "<f4", F16: "<f2"}[typ]
            tensors[name] = np.frombuffer(b, dtype, n, at).astype(np.float32).reshape(dims[::-1])
    return meta, tensors
