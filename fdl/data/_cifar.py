"""CIFAR-10 and CIFAR-100, from either form in which they are published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fdl.core import FdlError
from fdl.data._dataset import Dataset, Split
from fdl.data._download import Remote, cached
from fdl.data._files import AGAIN, check_digest, read, tar_members
from fdl.data._mnist import VALIDATION, Folder
from fdl.data._pickled import parse_pickled

PIXELS = 3 * 32 * 32
ARCHIVE_AT_MOST, FILE_AT_MOST = 200_000_000, 160_000_000  # bytes, unpacked; the published ones hold up to 184 and 154 million


class Labels(NamedTuple):
    """One label of every image."""

    key: bytes
    """Its name in the Python form."""
    classes: int


class Published(NamedTuple):
    """A data set as its authors publish it; an image has the last of its labels."""

    name: str
    folders: tuple[str, str]
    """Of the binary and of the Python form."""
    labels: tuple[Labels, ...]
    digests: dict[str, str]
    """SHA-256 of each file's records, training first, then test; they are the same in both forms."""
    remote: Remote

    def archive(self, form: int) -> str:
        return self.remote.url.rsplit("/", 1)[-1].replace("binary", ("binary", "python")[form])

    def parse(self, form: int, content: bytes | memoryview, where: str) -> np.ndarray:
        """From a file's bytes, and what errors call it, to uint8 records `[images, labels + 3072]`: labels, then pixels."""
        return (parse_python if form else parse_binary)(content, where, self.labels)


def parse_binary(content: bytes | memoryview, where: str, labels: Sequence[Labels]) -> np.ndarray:
    """The records, which stand there one after another."""
    size = len(labels) + PIXELS
    if len(content) == 0 or len(content) % size:
        raise FdlError(where, f"{len(content):,} bytes", f"records of {size:,} bytes", AGAIN)
    return np.frombuffer(content, np.uint8).reshape(-1, size)


def parse_python(content: bytes | memoryview, where: str, labels: Sequence[Labels]) -> np.ndarray:
    """The records of the pickled form, which is not unpickled."""
    batch = parse_pickled(bytes(content), where)
    pixels: Any = batch.get(b"data")
    lists: list[Any] = [batch.get(label.key) for label in labels]
    fits = isinstance(pixels, np.ndarray) and pixels.shape[1] == PIXELS
    if not fits or not all(isinstance(values, list) and len(values) == len(pixels) for values in lists):
        keys = " and ".join(label.key.decode() for label in labels)
        raise FdlError(where, "other entries", f"data, a matrix of rows of {PIXELS:,} bytes, and {keys}, a list as long")
    for label, values in zip(labels, lists):
        if not all(type(value) is int and 0 <= value < label.classes for value in values):
            raise FdlError(where, "labels that are no classes", f"integers of 0 to {label.classes - 1}")
    return np.column_stack([*[np.array(values, np.uint8) for values in lists], pixels])


_HOME = "https://www.cs.toronto.edu/~kriz/"
CIFAR_10 = Published(
    "CIFAR-10",
    ("cifar-10-batches-bin", "cifar-10-batches-py"),
    (Labels(b"labels", 10),),
    {
        "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
    Remote(_HOME + "cifar-10-binary.tar.gz", 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
)
CIFAR_100 = Published(
    "CIFAR-100",
    ("cifar-100-binary", "cifar-100-python"),
    (Labels(b"coarse_labels", 20), Labels(b"fine_labels", 100)),
    {
        "train": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
        "test": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
    },
    Remote(_HOME + "cifar-100-binary.tar.gz", 168_513_733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
)


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
    return load(CIFAR_10, folder)


def cifar100(folder: Folder | None = None) -> Dataset:
    """CIFAR-100: colour photographs of 32 x 32 pixels in a hundred classes, the "fine" ones; 40,000, 10,000 and 10,000 of them.

    Validation holds the first 10,000 training images; all else is as for `cifar10`, from the same author.
    """
    return load(CIFAR_100, folder)


def load(published: Published, folder: Folder | None, validation: int = VALIDATION) -> Dataset:
    """The data set from its files, of which the last is for test."""
    place = cached(published.remote, published.name.lower()).parent if folder is None else Path(folder)
    form, files = _contents(published, place)
    batches = []
    for digest, (where, content) in zip(published.digests.values(), files.items()):
        batches.append(published.parse(form, content, where))
        check_digest(batches[-1].tobytes(), digest, where)
    records = np.concatenate(batches)
    first, test = len(published.labels), len(records) - len(batches[-1])
    images = np.ascontiguousarray(records[:, first:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    take = lambda rows: Split((images[rows],), records[rows, first - 1].astype(np.int32))
    fit, choose, judge = take(slice(validation, test)), take(slice(validation)), take(slice(test, None))
    source = f"{published.name} (Krizhevsky), test set as published, validation: the first 10,000 of the 50,000 training images"
    return Dataset(published.name, fit, choose, judge, published.labels[-1].classes, source, "none stated")


def _contents(published: Published, folder: Path) -> tuple[int, dict[str, bytes | memoryview]]:
    """The bytes of the files, by where they were found: in the first form and place that has some."""
    for form, inner in enumerate(published.folders):
        files = [name + (".bin", "")[form] for name in published.digests]
        for place in (folder, folder / inner):
            if (place / files[0]).is_file():
                return form, {str(place / file): read(place / file, FILE_AT_MOST) for file in files}
        archive = folder / published.archive(form)
        if archive.is_file():
            members = tar_members(read(archive, ARCHIVE_AT_MOST), [f"{inner}/{file}" for file in files], str(archive))
            return form, {f"{archive}, {name}": content for name, content in members.items()}
    expected = ", or ".join(f"{published.archive(form)}, {inner}/ or its files" for form, inner in enumerate(published.folders))
    fix = f"Without a folder it is downloaded from {published.remote.url}"
    raise FdlError(f"data set {published.name}", f"neither form in {str(folder)!r}", expected, fix)
