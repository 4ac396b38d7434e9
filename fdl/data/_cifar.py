from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fdl.core import FdlError
from fdl.data import _files
from fdl.data._dataset import Dataset, Split
from fdl.data._download import Remote, cached
from fdl.data._mnist import VALIDATION, Folder
from fdl.data._pickled import parse_pickled

PIXELS = 3 * 32 * 32
ARCHIVE_AT_MOST, FILE_AT_MOST = 200_000_000, 32_000_000  # bytes, unpacked; the published ones hold 184 and 31 million


class Form(NamedTuple):
    """One of the two forms in which CIFAR-10 is published."""

    folder: str
    archive: str
    digests: Mapping[str, str]
    """The published files, training batches first, with the digest of each."""
    parse: Callable[[bytes | memoryview, str], tuple[np.ndarray, np.ndarray]]


def parse_binary(content: bytes | memoryview, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels `[images, 3072]` and labels from records of a label and 3,072 pixels, a byte each."""
    if len(content) == 0 or len(content) % (1 + PIXELS):
        raise FdlError(where, f"{len(content):,} bytes", f"records of {1 + PIXELS:,} bytes", "The file was cut off: get it again.")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0]


def parse_python(content: bytes | memoryview, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The same from the pickled form, which is not unpickled."""
    batch = parse_pickled(bytes(content), where)
    pixels, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, list) or pixels.shape != (len(labels), PIXELS):
        raise FdlError(where, "other entries", f"data, a matrix of rows of {PIXELS:,} bytes, and labels, a list as long")
    if not all(type(label) is int and 0 <= label < 10 for label in labels):
        raise FdlError(where, "labels that are no classes", "integers of 0 to 9")
    return pixels, np.array(labels, np.uint8)


_BINARY = Form("cifar-10-batches-bin", "cifar-10-binary.tar.gz", {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}, parse_binary)  # fmt: skip
_PYTHON = Form("cifar-10-batches-py", "cifar-10-python.tar.gz", {  # MD5, as far as is published of the single files
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}, parse_python)  # fmt: skip
_FORMS = (_BINARY, _PYTHON)
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
        FdlError: where a file is missing, damaged or another one: digests must be the published ones.
    """
    return load(_FORMS, cached(_REMOTE, "cifar-10").parent if folder is None else Path(folder))


def load(forms: tuple[Form, ...], folder: Path, validation: int = VALIDATION) -> Dataset:
    form, contents = _contents(forms, folder)
    batches = []
    for (name, digest), content in zip(form.digests.items(), contents):
        batches.append(form.parse(content, f"{folder}, {name}"))
        _files.check_digest(content, digest, f"{folder}, {name}")
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches))
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    tested = len(batches[-1][1])
    take = lambda rows: Split((images[rows],), labels[rows].astype(np.int32))
    fit, choose, judge = take(slice(validation, -tested)), take(slice(validation)), take(slice(-tested, None))
    source = "CIFAR-10 (Krizhevsky), test set as published, validation: the first 10,000 of the 50,000 training images"
    return Dataset("CIFAR-10", fit, choose, judge, classes=10, source=source, licence="none stated")


def _contents(forms: tuple[Form, ...], folder: Path) -> tuple[Form, list[bytes | memoryview]]:
    """The published files' bytes, from the first form and place where there are some."""
    for form in forms:
        first = next(iter(form.digests))
        for place in (folder, folder / form.folder):
            if (place / first).is_file():
                return form, [_files.read(place / name, FILE_AT_MOST) for name in form.digests]
        archive = folder / form.archive
        if archive.is_file():
            paths = [f"{form.folder}/{name}" for name in form.digests]
            members = _files.tar_members(_files.read(archive, ARCHIVE_AT_MOST), paths, str(archive))
            return form, [members[path] for path in paths]
    expected = " or ".join(f"{form.archive}, {form.folder} or {next(iter(form.digests))}" for form in forms)
    fix = f"Without a folder it is downloaded from {_REMOTE.url}"
    raise FdlError("data set CIFAR-10", f"neither form in {str(folder)!r}", expected, fix)
