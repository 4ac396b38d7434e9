"""Writes what Python 2's cPickle wrote with protocol 2 for a batch of CIFAR."""

import struct


def pickled(labels, pixels, filenames=(), name=b"training batch 1 of 5"):
    """`labels`: a list, or lists by key; `pixels`: uint8 `[images, 3072]`. Lists longer than 1,000 are appended in parts, as cPickle does."""
    memo = iter(range(10**6))

    def put():
        n = next(memo)
        return b"q" + bytes([n]) if n < 256 else b"r" + struct.pack("<I", n)

    def text(value):
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value + put()

    def number(value):
        return (
            b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value) if value < 65536 else b"J" + struct.pack("<i", value)
        )

    def items(values):
        parts = [values[i : i + 1000] for i in range(0, len(values), 1000)]
        return b"]" + put() + b"".join(b"(" + b"".join(part) + b"e" for part in parts)

    rows, columns = pixels.shape
    array = b"cnumpy.core.multiarray\n_reconstruct\n" + put() + b"cnumpy\nndarray\n" + put() + b"K\0\x85" + put() + text(b"b")
    array += b"\x87" + put() + b"R" + put() + b"(K\x01" + number(rows) + number(columns) + b"\x86" + put()
    array += b"cnumpy\ndtype\n" + put() + text(b"u1") + b"K\0K\x01\x87" + put() + b"R" + put()
    array += (
        b"(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t"
        + put()
        + b"b\x89"
        + text(pixels.tobytes())
        + b"t"
        + put()
        + b"b"
    )
    body = text(b"batch_label") + text(name)
    for key, values in (labels if isinstance(labels, dict) else {b"labels": labels}).items():
        body += text(key) + items([number(n) for n in values])
    body += text(b"data") + array + text(b"filenames") + items([text(n) for n in filenames])
    return b"\x80\x02}" + put() + b"(" + body + b"u."
