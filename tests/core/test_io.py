"""Files: whole or not at all, back to the bit, and refused when damaged."""

import json
import os
import struct
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from fdl.core import FdlError
from fdl.core._io import load_arrays, save_arrays, writable_folder, write_bytes


def refused(function, *args):
    with pytest.raises(FdlError) as caught:
        function(*args)
    return str(caught.value)


# Writing.


def test_a_file_is_written_whole_and_replaced(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"", b"\0new" * 1000):
        write_bytes(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    text = refused(write_bytes, path, b"new")
    assert text == f"{path}: found No space left on device while writing; expected a file system with room that can be written to."
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_content_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    log = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (log.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *names: (log.append("replace"), replace(*names)))
    write_bytes(tmp_path / "file", b"new")
    assert log == [f".file.{os.getpid()}.tmp", "replace", tmp_path.name]


def test_a_full_disk_and_a_missing_folder_are_told(tmp_path):
    assert refused(write_bytes, tmp_path / "none" / "file", b"x").startswith(
        f"{tmp_path}/none/file: found No such file or directory while writing"
    )


def test_a_folder_is_created_with_its_parents_and_left_empty(tmp_path):
    folder = writable_folder(tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b"
    assert os.listdir(folder) == []
    assert writable_folder(str(folder)) == folder


def test_a_folder_under_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    text = refused(writable_folder, tmp_path / "file" / "run", "out")
    assert text == f"out: found '{tmp_path}/file/run' (Not a directory); expected a folder that can be written to."
    assert refused(writable_folder, tmp_path / "file").startswith(f"folder: found '{tmp_path}/file' (File exists)")


# Arrays.


def bits(array):
    return array.dtype.name, array.shape, array.tobytes()


ARRAYS = {
    "0-d": np.float32(3.5),
    "empty": np.zeros((0, 3), np.float64),
    "no elements of many axes": np.zeros((2, 0, 4), np.int8),
    "nan payload": np.array([0x7FC00001, 0xFFC12345, 0x7F800001], np.uint32).view(np.float32),
    "negative zero": np.array([-0.0, 0.0, -np.inf]),
    "smallest": np.array([5e-324, 1e-320]),
    "bfloat16": np.array([1.5, -0.0, np.nan], ml_dtypes.bfloat16),
    "float16": np.arange(4, dtype=np.float16),
    "bool": np.array([True, False]),
    "uint8": np.arange(256, dtype=np.uint8).reshape(2, 128),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "every other": np.arange(10, dtype=np.int32)[::2],
}


def test_arrays_come_back_to_the_bit(tmp_path):
    save_arrays(tmp_path / "f", {"層": {"a b": dict(ARRAYS)}, "top": jnp.ones((2, 2), jnp.bfloat16)}, {"step": 3, "name": "é"})
    tree, metadata = load_arrays(tmp_path / "f")
    assert metadata == {"step": 3, "name": "é"}
    assert set(tree) == {"層", "top"}
    assert {name: bits(a) for name, a in tree["層"]["a b"].items()} == {name: bits(np.asarray(a)) for name, a in ARRAYS.items()}
    assert bits(tree["top"]) == ("bfloat16", (2, 2), b"\x80\x3f" * 4)


def test_the_same_tree_gives_the_same_bytes_in_any_order(tmp_path):
    save_arrays(tmp_path / "a", {"x": np.ones(2), "y": np.ones(3)}, {})
    save_arrays(tmp_path / "b", {"y": np.ones(3), "x": np.ones(2)}, {})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_slash_in_a_name_is_refused(tmp_path):
    assert refused(save_arrays, tmp_path / "f", {"a": {"b/c": np.ones(1)}}, {}).startswith("array a/b/c: found a '/' in the name")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "f"
    save_arrays(path, {"a": {"b": np.arange(5.0), "c": np.float32(2)}}, {"step": 3})
    return path.read_bytes()


def test_a_file_cut_at_any_byte_is_refused(tmp_path, good):
    path = tmp_path / "f"
    for length in range(len(good)):
        path.write_bytes(good[:length])
        assert refused(load_arrays, path).endswith("expected a safetensors file written by fdl.")
    path.write_bytes(good + b"\0")
    refused(load_arrays, path)
    path.write_bytes(good)
    assert load_arrays(path)[1] == {"step": 3}


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path, good):
    path = tmp_path / "f"
    for place in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        refused(load_arrays, path)


def tensor(dtype, size):
    """A safetensors file of one array, its header written by hand."""
    header = json.dumps({"__metadata__": {"fdl": "{}"}, "a": {"dtype": dtype, "shape": [4], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\1" * size


FOREIGN = {
    "empty": b"",
    "text": b"step,loss\n1,2\n" * 20,
    "pickle": b"\x80\x04\x95" + b"\0" * 50,
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "header of 8 EiB": struct.pack("<Q", 2**63) + b"{}",
    "safetensors of others": save({"a": np.ones(2)}),
    "metadata of others": save({"a": np.ones(2)}, {"format": "pt"}),
    "no checksum": save({"a": np.ones(2)}, {"fdl": '{"metadata": {}}'}),
    "no object": save({"a": np.ones(2)}, {"fdl": "3"}),
    "metadata that is no JSON": save({"a": np.ones(2)}, {"fdl": "{"}),
    "metadata without bottom": save({"a": np.ones(2)}, {"fdl": "[" * 100_000}),
    "an array that is a folder": save({"a": np.ones(2), "a/b": np.ones(2)}, {"fdl": "{}"}),
    "8-bit floats": tensor("F8_E4M3", 4),
    "4-bit floats": tensor("F4", 2),
    "unknown type": tensor("F128", 64),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused(tmp_path, name):
    path = tmp_path / "f"
    path.write_bytes(FOREIGN[name])
    text = refused(load_arrays, path)
    assert text.startswith(f"{path}: found ")
    assert text.endswith("; expected a safetensors file written by fdl.")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "No such file" in refused(load_arrays, tmp_path / "none")
    refused(load_arrays, tmp_path)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300))
def test_no_bytes_provoke_anything_but_a_refusal(tmp_path_factory, content):
    path = Path(tmp_path_factory.getbasetemp()) / "fuzzed"
    path.write_bytes(content)
    refused(load_arrays, path)
