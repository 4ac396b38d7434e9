from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fdl.core import FdlError
from fdl.data._dataset import Dataset, Split
from fdl.data._download import Remote, cached
from fdl.data._files import AGAIN, check_digest, read, tar_members
from fdl.data._mnist import VALIDATION, Folder
from fdl.data._pickled import parse_pickled

PIXELS = 3 * 32 * 32
ARCHIVE_AT_MOST, FILE_AT_MOST = 200_000_000, 32_000_000  # bytes, unpacked; the published ones hold 184 and 31 million


class Form(NamedTuple):
    """One of the two forms in which CIFAR-10 is published."""

    folder: str
    archive: str
    suffix: str
    parse: Callable[[bytes | memoryview, str], np.ndarray]
    """From a file's bytes, and what errors call it, to uint8 records `[images, 1 + 3072]`: label, then pixels."""


def parse_binary(content: bytes | memoryview, where: str) -> np.ndarray:
    """The records, which stand there one after another."""
    if len(content) == 0 or len(content) % (1 + PIXELS):
        raise FdlError(where, f"{len(content):,} bytes", f"records of {1 + PIXELS:,} bytes", AGAIN)
    return np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)


def parse_python(content: bytes | memoryview, where: str) -> np.ndarray:
    """The records of the pickled form, which is not unpickled."""
    batch = parse_pickled(bytes(content), where)
    pixels, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, list) or pixels.shape != (len(labels), PIXELS):
        raise FdlError(where, "other entries", f"data, a matrix of rows of {PIXELS:,} bytes, and labels, a list as long")
    if not all(type(label) is int and 0 <= label < 10 for label in labels):
        raise FdlError(where, "labels that are no classes", "integers of 0 to 9")
    return np.column_stack([np.array(labels, np.uint8), pixels])


_FORMS = (
    Form("cifar-10-batches-bin", "cifar-10-binary.tar.gz", ".bin", parse_binary),
    Form("cifar-10-batches-py", "cifar-10-python.tar.gz", "", parse_python),
)
_DIGESTS = {  # SHA-256 of the records, which are the same in both forms
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
_REMOTE = Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", 170_052_171,
                 "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")  # fmt: skip


def cifar10(folder: Folder | None = None) -> Dataset:
    """CIFAR-10: colour photographs of 32 x 32 pixels in ten classes; 40,000, 10,000 and 10,000 of them.

    Validation holds the first of the five training batches. Inputs uint8 `[examples, 32, 32, 3]` as published, for
    augmentation works on pixels: `models.CifarInput` makes floating numbers of them. Labels int32.

    Krizhevsky 2009, "Learning multiple layers of features from tiny images".

    Args:
        folder: holds the binary or the Python form, as the published `.tar.gz` or as the files in it (beside one another,
            or in the folder that the archive makes). The Python form is read without unpickling. Where not given, the
            binary form is downloaded once (170 MB), as `mnist` tells.

    Raises:
        FdlError: where a file is missing, damaged or another one: what is in it must have the published SHA-256.
    """
    return load(_DIGESTS, cached(_REMOTE, "cifar-10").parent if folder is None else Path(folder))


def load(digests: Mapping[str, str], folder: Path, validation: int = VALIDATION) -> Dataset:
    """The data set from files with these digests: training batches, then one for test."""
    form, files = _contents(list(digests), folder)
    batches = []
    for digest, (where, content) in zip(digests.values(), files.items()):
        batches.append(form.parse(content, where))
        check_digest(batches[-1].tobytes(), digest, where)
    records = np.concatenate(batches)
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    take = lambda rows: Split((images[rows],), records[rows, 0].astype(np.int32))
    test = len(records) - len(batches[-1])
    fit, choose, judge = take(slice(validation, test)), take(slice(validation)), take(slice(test, None))
    source = "CIFAR-10 (Krizhevsky), test set as published, validation: the first 10,000 of the 50,000 training images"
    return Dataset("CIFAR-10", fit, choose, judge, classes=10, source=source, licence="none stated")


def _contents(names: list[str], folder: Path) -> tuple[Form, dict[str, bytes | memoryview]]:
    """The bytes of the files of these names, by where they were found: in the first form and place that has some."""
    for form in _FORMS:
        files = [name + form.suffix for name in names]
        for place in (folder, folder / form.folder):
            if (place / files[0]).is_file():
                return form, {str(place / file): read(place / file, FILE_AT_MOST) for file in files}
        archive = folder / form.archive
        if archive.is_file():
            members = tar_members(read(archive, ARCHIVE_AT_MOST), [f"{form.folder}/{file}" for file in files], str(archive))
            return form, {f"{archive}, {name}": content for name, content in members.items()}
    expected = ", or ".join(f"{form.archive}, {form.folder}/ or its files" for form in _FORMS)
    fix = f"Without a folder it is downloaded from {_REMOTE.url}"
    raise FdlError("data set CIFAR-10", f"neither form in {str(folder)!r}", expected, fix)
