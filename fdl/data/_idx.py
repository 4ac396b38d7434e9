import math
import os
import struct
from pathlib import Path

import numpy as np

from fdl.core import FdlError
from fdl.data import _files

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str], max_bytes: int = 2**30) -> np.ndarray:
    """An array from a file in the IDX format, in which MNIST and its relatives are published; plain or packed by gzip.

    Two zero bytes, a type, a count of dimensions, the dimensions as big-endian 32-bit integers, then the elements.

    Args:
        path: the file.
        max_bytes: what it may hold at most, unpacked.

    Returns:
        uint8, int8, int16, int32, float32 or float64, in the machine's byte order.

    Raises:
        FdlError: naming the file, for anything else than one whole array.
    """
    return parse_idx(_files.read(Path(path), max_bytes), str(path))


def parse_idx(content: bytes, where: str) -> np.ndarray:
    """The array in these bytes; the header is held against their number before anything is allocated."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not 1 <= content[3] <= 8:
        raise FdlError(
            where, f"a start of {content[:4].hex(' ') or 'no bytes'}", "an IDX file: 00 00, a type of 08 to 0e, 1 to 8 dimensions"
        )
    dtype, start = np.dtype(_TYPES[content[2]]), 4 + 4 * content[3]
    if len(content) < start:
        raise FdlError(where, f"{len(content)} bytes", f"a header of {start}", _files.AGAIN)
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    claimed = start + math.prod(shape) * dtype.itemsize
    if claimed != len(content) or 0 in shape:
        raise FdlError(
            where, f"a header for {list(shape)} {dtype.name}, {claimed:,} bytes with it", f"the file's {len(content):,}", _files.AGAIN
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
