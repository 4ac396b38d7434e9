import io
from pathlib import Path

import numpy as np

from fdl.core import FdlError
from fdl.data._dataset import Dataset, Split
from fdl.data._download import Remote, cached
from fdl.data._files import check_digest, read
from fdl.data._mnist import Folder

VALIDATION = 26_032  # as many as there are test images, as DeepOBS 1.2 holds out
FILE_AT_MOST = 200_000_000  # bytes; the larger one holds 182 million
_HOME = "https://ufldl.stanford.edu/housenumbers/"
_FILES = (
    Remote(_HOME + "train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
    Remote(_HOME + "test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
)


def svhn(folder: Folder | None = None) -> Dataset:
    """Street View House Numbers, cropped: digits of 32 x 32 pixels in colour; 47,225, 26,032 and 26,032 of them.

    Validation holds the first 26,032 of the 73,257 training images, as many as there are for test; the 531,131 "extra"
    images are left aside. Inputs uint8 `[examples, 32, 32, 3]`, as for `cifar10`; labels int32, the digit itself (0 is
    published as 10).

    Netzer et al. 2011, "Reading digits in natural images with unsupervised feature learning".

    Args:
        folder: holds `train_32x32.mat` and `test_32x32.mat`. Where not given, they are downloaded once (246 MB), as `mnist`
            tells.

    Raises:
        FdlError: where a file is missing, damaged or another one: it must have the published SHA-256.
    """
    return load(_FILES, folder)


def load(files: tuple[Remote, Remote], folder: Folder | None, validation: int = VALIDATION) -> Dataset:
    (x, y), (x_test, y_test) = (_read(remote, folder) for remote in files)
    fit, choose = (Split((x[part],), y[part]) for part in (slice(validation, None), slice(validation)))
    source = "SVHN, cropped digits (Netzer et al.), test set as published, validation: the first 26,032 of the 73,257 training images"
    return Dataset("SVHN", fit, choose, Split((x_test,), y_test), 10, source, "non-commercial use only")


def _read(remote: Remote, folder: Folder | None) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a MATLAB file, which is opened only when it is the published one."""
    from scipy.io import loadmat

    path = cached(remote, "svhn") if folder is None else Path(folder) / remote.url.rsplit("/", 1)[-1]
    if not path.is_file():
        raise FdlError("data set SVHN", f"no {path.name} in {str(folder)!r}", "the published file", f"Its home is {remote.url}")
    content = read(path, FILE_AT_MOST)
    check_digest(content, remote.sha256, str(path))
    arrays = loadmat(io.BytesIO(content), variable_names=("X", "y"))
    return np.ascontiguousarray(arrays["X"].transpose(3, 0, 1, 2)), (arrays["y"].ravel() % 10).astype(np.int32)
