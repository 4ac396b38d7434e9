import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fdl.core import FdlError
from fdl.data import _files
from fdl.data._dataset import Dataset, Split
from fdl.data._download import Remote, cached
from fdl.data._idx import parse_idx

Folder = str | os.PathLike[str]
VALIDATION = 10_000  # the first of the training images, as DeepOBS 1.2 holds them out


class Published(NamedTuple):
    """A gzip file at its home, and the SHA-256 of what is in it."""

    remote: Remote
    content: str


_MNIST_HOME = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_MNIST = [
    Published(Remote(_MNIST_HOME + "train-images-idx3-ubyte.gz", 9_912_422,
                     "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
              "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    Published(Remote(_MNIST_HOME + "train-labels-idx1-ubyte.gz", 28_881,
                     "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
              "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    Published(Remote(_MNIST_HOME + "t10k-images-idx3-ubyte.gz", 1_648_877,
                     "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
              "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    Published(Remote(_MNIST_HOME + "t10k-labels-idx1-ubyte.gz", 4_542,
                     "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
              "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
]  # fmt: skip

_FASHION_HOME = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_FASHION = [
    Published(Remote(_FASHION_HOME + "train-images-idx3-ubyte.gz", 26_421_880,
                     "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
              "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    Published(Remote(_FASHION_HOME + "train-labels-idx1-ubyte.gz", 29_515,
                     "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
              "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    Published(Remote(_FASHION_HOME + "t10k-images-idx3-ubyte.gz", 4_422_102,
                     "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
              "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    Published(Remote(_FASHION_HOME + "t10k-labels-idx1-ubyte.gz", 5_148,
                     "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
              "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
]  # fmt: skip


def mnist(folder: Folder | None = None) -> Dataset:
    """MNIST: handwritten digits, grey images of 28 x 28 pixels in ten classes; 50,000, 10,000 and 10,000 of them.

    Validation holds the first 10,000 of the 60,000 training images, as in DeepOBS 1.2. Pixels are divided by 255 and not
    standardised. Inputs float32 `[examples, 28, 28, 1]` in 0..1, labels int32.

    LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".

    Args:
        folder: holds the four published IDX files, plain or packed as `.gz`; nothing is downloaded then. Where not
            given they are downloaded once (11 MB) into the folder that the environment variable `FDL_DATA` names, or the
            user's cache folder.

    Raises:
        FdlError: where a file is missing, damaged or another one: what is in it must have the published SHA-256.
    """
    source = "MNIST (LeCun, Cortes & Burges), test set as published, validation: the first 10,000 of the 60,000 training images"
    return load("MNIST", _MNIST, folder, source, "CC BY-SA 3.0")


def fashion_mnist(folder: Folder | None = None) -> Dataset:
    """Fashion-MNIST: articles of clothing in MNIST's form, split and scaled like it; as `mnist` otherwise (31 MB).

    Xiao, Rasul & Vollgraf 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms".
    """
    source = "Fashion-MNIST (Zalando), test set as published, validation: the first 10,000 of the 60,000 training images"
    return load("Fashion-MNIST", _FASHION, folder, source, "MIT")


def load(name: str, published: list[Published], folder: Folder | None, source: str, licence: str, validation: int = VALIDATION) -> Dataset:
    x, y, x_test, y_test = (_read(one, _place(one.remote, name, folder)) for one in published)
    for images, labels in ((x, y), (x_test, y_test)):
        if images.dtype != np.uint8 or images.ndim != 3 or len(images) != len(labels):
            found = f"images {images.dtype}{list(images.shape)} and labels {labels.dtype}{list(labels.shape)}"
            raise FdlError(f"data set {name}", found, "uint8 images [examples, height, width] and as many labels")
    fit, choose = (Split((_scaled(x[part]),), y[part].astype(np.int32)) for part in (slice(validation, None), slice(validation)))
    return Dataset(name, fit, choose, Split((_scaled(x_test),), y_test.astype(np.int32)), 10, source, licence)


def _place(remote: Remote, name: str, folder: Folder | None) -> Path:
    if folder is None:
        return cached(remote, name.lower())
    packed = Path(folder) / remote.url.rsplit("/", 1)[-1]
    plain = packed.with_suffix("")
    if not (plain.is_file() or packed.is_file()):
        fix = "Without a folder they are downloaded from " + remote.url.removesuffix(packed.name)
        raise FdlError(f"data set {name}", f"neither {plain.name} nor {packed.name} in {str(folder)!r}", "the published files", fix)
    return plain if plain.is_file() else packed


def _read(published: Published, path: Path) -> np.ndarray:
    content = _files.read(path, 64_000_000)  # the largest of these files holds 47,040,016 bytes
    array = parse_idx(content, str(path))
    _files.check_digest(content, published.content, str(path))
    return array


def _scaled(images: np.ndarray) -> np.ndarray:
    return images[..., None].astype(np.float32) / np.float32(255)
