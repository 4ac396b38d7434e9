"""CIFAR's Python form, read without unpickling."""

import contextlib
import pickle
import pickletools
import time
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutate import mutated
from python2 import pickled

from fdl import FdlError
from fdl.data._cifar import CIFAR_10
from fdl.data._pickled import parse_pickled

RNG = np.random.default_rng(0)
parse_binary, parse_python = (partial(CIFAR_10.parse, form) for form in (0, 1))


def batch(count, columns=3072, **options):
    labels, pixels = RNG.integers(0, 10, count).tolist(), RNG.integers(0, 256, (count, columns), np.uint8)
    return labels, pixels, pickled(labels, pixels, [b"frog_%d.png" % i for i in range(count)], **options)


def refused(function, content):
    with pytest.raises(FdlError) as caught:
        function(content, "data_batch_1")
    return str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("count", [1, 3, 2500])
def test_a_batch_is_what_python_itself_unpickles(count):
    labels, pixels, content = batch(count)
    got, want = parse_pickled(content, "f"), pickle.loads(content, encoding="bytes")
    assert list(got) == list(want) == [b"batch_label", b"labels", b"data", b"filenames"]
    np.testing.assert_array_equal(got.pop(b"data"), want.pop(b"data"))
    assert got == want
    records = parse_python(content, "f")
    np.testing.assert_array_equal(records[:, 0], labels)
    np.testing.assert_array_equal(records[:, 1:], pixels)
    np.testing.assert_array_equal(parse_binary(records.tobytes(), "f"), records)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_named_and_never_run(protocol, tmp_path):
    content = pickle.dumps(Malicious(tmp_path / "marker"), protocol)
    message = refused(parse_python, content)
    assert not (tmp_path / "marker").exists()
    pickle.loads(content).close()  # so it would have been
    assert (tmp_path / "marker").exists()
    assert ("the name io.open, which could be any code" if protocol < 3 else f"protocol {protocol}") in message


def test_the_opcodes_are_those_that_the_published_files_use():
    _, _, content = batch(2000)
    used = {opcode.code for opcode, _, _ in pickletools.genops(content)}
    from fdl.data._pickled import _OPCODES

    assert used <= {code.decode("latin1") for code in _OPCODES} | {"."}


LABELS, PIXELS, CONTENT = batch(3)
BAD = {
    "empty": (b"", "byte -1: 1 bytes announced, 0 left"),
    "cut off": (CONTENT[:-500], "bytes announced"),
    "something after it": (CONTENT + b"x", "an end in the middle"),
    "no dictionary": (b"\x80\x02].", "found a pickle of list; expected one of a dictionary"),
    "no data": (b"\x80\x02}.", "found other entries; expected data, a matrix of rows of 3,072 bytes"),
    "labels too few": (pickled(LABELS[:2], PIXELS), "found other entries"),
    "rows too short": (batch(3, columns=3071)[2], "found other entries"),
    "label of 10": (pickled([0, 1, 10], PIXELS), "found labels that are no classes; expected integers of 0 to 9"),
    "length below 0": (b"\x80\x02T\xff\xff\xff\xff.", "-1 bytes announced"),
    "length beyond the end": (b"\x80\x02T\xff\xff\xff\x7f.", "2,147,483,647 bytes announced, 1 left"),
    "array larger than its bytes": (CONTENT.replace(b"K\x03M\x00\x0c\x86", b"K\x04M\x00\x0c\x86"), "an array of 4 x 3,072 in 9,216 bytes"),
    "other dtype": (CONTENT.replace(b"U\x02u1", b"U\x02O8"), "a call of numpy.dtype with other arguments"),
    "other name": (CONTENT.replace(b"cnumpy\ndtype", b"cnumpy\nsave"), "the name numpy.save, which could be any code"),
    "unknown opcode": (b"\x80\x02P0\n.", "the opcode b'P'"),
    "key that would be hashed for ever": (
        b"\x80\x02}q\0)q\1" + b"(h\1h\1tq\1" * 60 + b"h\0h\1K\1s.",
        "a key that is no byte string",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_batch_is_told(case):
    content, message = BAD[case]
    told = refused(parse_python, content)
    assert message in told
    assert told.startswith("data_batch_1: found ")


def test_a_file_of_empty_lists_does_not_fill_the_memory():
    begun = time.process_time()
    assert "more than 1,000,000 opcodes" in refused(parse_pickled, b"\x80\x02" + b"]" * 3_000_000)
    print(f"{time.process_time() - begun:.1f} s")


SMALL = pickled([1, 2], np.arange(6, dtype=np.uint8).reshape(2, 3), [b"a.png"])


@given(st.one_of(st.binary(max_size=60).map(lambda rest: b"\x80\x02" + rest), mutated([SMALL])))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_a_mutated_pickle_is_read_or_refused(content):
    for parse in (parse_pickled, parse_python):
        with contextlib.suppress(FdlError):
            parse(content, "f")


def test_binary_records_must_be_whole():
    assert "found 3,072 bytes; expected records of 3,073 bytes" in refused(parse_binary, bytes(3072))
    assert "found 0 bytes" in refused(parse_binary, b"")
