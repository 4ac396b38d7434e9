"""Files that others made: bounded, unpacked, looked up in archives, and refused with one message."""

import contextlib
import gzip
import io
import os
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutate import mutated

from fdl import FdlError, data
from fdl.data import _files
from fdl.data._idx import parse_idx


def refused(function, *args):
    with pytest.raises(FdlError) as caught:
        function(*args)
    return str(caught.value)


def only_fdl_errors(function, *args):
    with contextlib.suppress(FdlError):
        function(*args)


@contextlib.contextmanager
def allocating_less_than(limit):
    """Python's own allocations, NumPy's and zlib's outputs among them."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"peak {peak:,} bytes")
    assert peak < limit


# Reading and unpacking.


def test_a_file_is_read_plain_or_packed(tmp_path):
    content = np.random.default_rng(0).bytes(5000)
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content))
    assert _files.read(tmp_path / "plain", 5000) == _files.read(tmp_path / "packed", 5000) == content


def test_a_file_that_holds_more_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with allocating_less_than(100_000):
        message = refused(_files.read, tmp_path / "sparse", 1000)
    assert message == f"{tmp_path}/sparse: found 1,099,511,627,776 bytes; expected at most 1,000."
    (tmp_path / "long").write_bytes(bytes(1001))
    assert "found 1,001 bytes; expected at most 1,000" in refused(_files.read, tmp_path / "long", 1000)


def test_a_decompression_bomb_is_stopped_at_its_limit():
    bomb = gzip.compress(bytes(100_000_000))  # 97 kB
    tracemalloc.start()
    assert (
        refused(_files.gunzip, bomb, 1_000_000, "b.gz")
        == "b.gz: found gzip data that expands beyond 1,000,000 bytes; expected at most so many."
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print("peak", peak)
    assert peak < 4_000_000  # measured 2.1 million


def test_damaged_gzip_data_is_told():
    packed = gzip.compress(b"content" * 100)
    assert "found gzip data cut off after" in refused(_files.gunzip, packed[:-1], 1000, "f")
    assert "found 3 bytes after the end of the gzip data" in refused(_files.gunzip, packed + b"abc", 1000, "f")
    flipped = packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:]
    assert "damaged gzip data" in refused(_files.gunzip, flipped, 1000, "f")
    assert "Permission denied" in refused(_files.read, os.devnull + "/x", 1) or "Not a directory" in refused(
        _files.read, os.devnull + "/x", 1
    )


def test_no_flipped_bit_of_a_gzip_file_is_read_as_other_content():
    content = np.random.default_rng(0).integers(0, 4, 300, np.uint8).tobytes()
    packed = gzip.compress(content, mtime=0)
    read = 0
    for place in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[place // 8] ^= 1 << place % 8
        try:
            assert _files.gunzip(bytes(flipped), 1000, "f") == content  # time, system and flags of the header
            read += 1
        except FdlError:
            pass
    print(f"{8 * len(packed)} flips, {read} without effect")
    assert read < 80


# Tar archives, against Python's own reader and writer.


def archive(entries, form=tarfile.USTAR_FORMAT):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, content, kind in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "../../target" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


REGULAR = [("folder", b"", tarfile.DIRTYPE), ("folder/a", b"A" * 700, tarfile.REGTYPE), ("folder/b", b"", tarfile.AREGTYPE)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_what_python_s_own_reader_finds(form):
    others = [("p/" * 60 + "n" * 90, b"long", tarfile.REGTYPE), ("folder/ü", b"other", tarfile.REGTYPE)]
    content = archive([*others, *REGULAR], form)
    got = _files.tar_members(content, ["folder/b", "folder/a"], "t")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert {n: bytes(c) for n, c in got.items()} == {n: tar.extractfile(n).read() for n in got}
    assert list(got) == ["folder/b", "folder/a"]


HOSTILE = {
    "symbolic link": [("folder/a", b"", tarfile.SYMTYPE)],
    "hard link": [("folder/a", b"", tarfile.LNKTYPE)],
    "device": [("folder/a", b"", tarfile.CHRTYPE)],
    "fifo": [("folder/a", b"", tarfile.FIFOTYPE)],
    "folder": [("folder/a", b"", tarfile.DIRTYPE)],
    "twice": [("folder/a", b"1", tarfile.REGTYPE), ("folder/a", b"2", tarfile.REGTYPE)],
    "upwards": [("folder/../folder/a", b"1", tarfile.REGTYPE)],
    "absolute": [("/folder/a", b"1", tarfile.REGTYPE)],
    "other separators": [("folder\\a", b"1", tarfile.REGTYPE)],
    "none": [],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_single_regular_file_of_that_very_name_is_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(_files.tar_members, archive(HOSTILE[case]), ["folder/a"], "t.tar.gz")
    assert message.startswith("t.tar.gz: found ")
    assert "folder/a" in message
    assert os.listdir(tmp_path) == []


def test_a_damaged_archive_is_told_with_its_place():
    content = bytearray(archive(REGULAR))
    content[700] ^= 1
    assert "a damaged header at byte 512" in refused(_files.tar_members, bytes(content), ["folder/a"], "t")
    assert "'folder/a' of 700 bytes at byte 512 of 1,300" in refused(_files.tar_members, archive(REGULAR)[:1300], ["folder/a"], "t")


@given(mutated([archive(REGULAR, form) for form in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT)]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_mutated_archive_is_read_or_refused(content):
    only_fdl_errors(_files.tar_members, content, ["folder/a", "folder/b"], "t")


# IDX.


def idx(array, code):
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + shape + array.astype(array.dtype.newbyteorder(">")).tobytes()


KINDS = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


@pytest.mark.parametrize("dtype", KINDS)
def test_an_idx_file_comes_back_as_it_was_written(dtype, tmp_path):
    array = (np.random.default_rng(0).normal(size=(3, 4, 5)) * 50).astype(dtype)
    (tmp_path / "f").write_bytes(idx(array, KINDS[dtype]))
    (tmp_path / "f.gz").write_bytes(gzip.compress(idx(array, KINDS[dtype])))
    for name in ("f", "f.gz"):
        read = data.read_idx(tmp_path / name)
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype
        assert read.flags.writeable


SMALL = idx(np.arange(12, dtype=np.uint8).reshape(3, 4), 8)
BAD = {
    "empty": (b"", "f: found a start of no bytes; expected an IDX file"),
    "text": (b"label,pixel", "f: found a start of 6c 61 62 65; expected an IDX file"),
    "no dimensions": (b"\0\0\x08\0", "1 to 8 dimensions"),
    "nine dimensions": (b"\0\0\x08\x09" + b"\0\0\0\1" * 9 + b"1", "1 to 8 dimensions"),
    "type": (b"\0\0\x0a\x01\0\0\0\1x", "a type of 08 to 0e"),
    "cut in the header": (SMALL[:9], "f: found 9 bytes; expected a header of 12."),
    "cut in the data": (SMALL[:-1], "f: found a header for [3, 4] uint8, 24 bytes with it; expected the file's 23."),
    "too long": (SMALL + b"x", "24 bytes with it; expected the file's 25."),
    "lying": (
        b"\0\0\x0e\x03" + b"\x7f\xff\xff\xff" * 3 + bytes(176),
        "f: found a header for [2147483647, 2147483647, 2147483647] float64, 79,228,162,403,583,873,202,826,248,200 bytes",
    ),
    "of nothing": (b"\0\0\x08\x02\0\0\0\0\xff\xff\xff\xff", "a header for [0, 4294967295] uint8"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_idx_file_is_told_with_what_it_claims(case):
    content, message = BAD[case]
    with allocating_less_than(100_000):
        assert message in refused(parse_idx, content, "f")


@given(st.one_of(st.binary(max_size=60), mutated([SMALL, idx(np.ones((2, 1, 3), np.float32), 13)])))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_mutated_idx_file_is_read_or_refused(content):
    only_fdl_errors(parse_idx, content, "f")


@given(mutated([gzip.compress(SMALL, mtime=0), zlib.compress(SMALL), gzip.compress(bytes(3000), mtime=0)]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_mutated_gzip_file_is_read_or_refused(content):
    only_fdl_errors(_files.gunzip, content, 1000, "f")
