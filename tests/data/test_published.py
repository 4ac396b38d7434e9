"""MNIST, Fashion-MNIST, CIFAR and SVHN: their splits, from files of every form, and only from the published ones."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from python2 import pickled
from scipy.io import savemat
from test_files import idx

from fdl import FdlError, data
from fdl.data import _cifar, _mnist, _svhn
from fdl.data._download import Remote

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "mnist"
RNG = np.random.default_rng(0)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


# MNIST's form.

ARRAYS = {
    "train-images-idx3-ubyte": RNG.integers(0, 256, (12, 28, 28), np.uint8),
    "train-labels-idx1-ubyte": RNG.integers(0, 10, 12, np.uint8),
    "t10k-images-idx3-ubyte": RNG.integers(0, 256, (5, 28, 28), np.uint8),
    "t10k-labels-idx1-ubyte": RNG.integers(0, 10, 5, np.uint8),
}


def published(arrays=ARRAYS):
    """The small files, as if they were the published ones."""
    return [_mnist.Published(Remote(f"https://home/{name}.gz", 0, ""), sha256(idx(array, 8))) for name, array in arrays.items()]


def write(folder, packed=lambda name: True, arrays=ARRAYS):
    for name, array in arrays.items():
        content = idx(array, 8)
        (folder / (name + ".gz" * packed(name))).write_bytes(gzip.compress(content) if packed(name) else content)


def load(folder, published=published()):  # noqa: B008
    return _mnist.load("MNIST", published, folder, "source", "licence", validation=4)


@pytest.mark.parametrize("packed", [lambda name: True, lambda name: False, lambda name: "labels" in name])
def test_mnist_holds_out_the_first_images_and_scales_them_alone(packed, tmp_path):
    write(tmp_path, packed)
    dataset = load(tmp_path)
    x, y, x_test, y_test = ARRAYS.values()
    for split, images, labels in ((dataset.validation, x[:4], y[:4]), (dataset.train, x[4:], y[4:]), (dataset.test, x_test, y_test)):
        np.testing.assert_array_equal(split.inputs[0], (images / np.float32(255))[..., None])
        np.testing.assert_array_equal(split.labels, labels)
        assert (split.inputs[0].dtype, split.labels.dtype) == (np.float32, np.int32)
    assert (dataset.classes, dataset.source, dataset.licence) == (10, "source", "licence")


def refused(function, *args):
    with pytest.raises(FdlError) as caught:
        function(*args)
    return str(caught.value)


def test_mnist_files_that_are_missing_are_told_with_their_home(tmp_path):
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert refused(load, tmp_path) == (
        f"data set MNIST: found neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz in '{tmp_path}'; expected the published files.\n"
        "  Without a folder they are downloaded from https://home/"
    )
    assert "neither train-images-idx3-ubyte nor" in refused(data.mnist, tmp_path / "nowhere")
    assert "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/" in refused(data.fashion_mnist, tmp_path / "nowhere")


def test_other_content_under_a_published_name_is_refused(tmp_path):
    write(tmp_path, lambda name: False)
    path = tmp_path / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1  # a pixel: nothing else would notice
    path.write_bytes(content)
    message = refused(load, tmp_path)
    assert message.startswith(f"{path}: found content with SHA-256 {sha256(content)}; expected the published ")
    write(tmp_path, lambda name: False)
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: found a header for [12, 28, 28] uint8" in refused(load, tmp_path)


def test_images_and_labels_must_belong_together(tmp_path):
    arrays = {**ARRAYS, "train-labels-idx1-ubyte": ARRAYS["train-labels-idx1-ubyte"][:-1]}
    write(tmp_path, arrays=arrays)
    assert "found images uint8[12, 28, 28] and labels uint8[11]" in refused(load, tmp_path, published(arrays))


def test_every_pin_is_a_sha_256_of_its_own():
    pins = [pin for p in (*_mnist._MNIST, *_mnist._FASHION) for pin in (p.remote.sha256, p.content)] + [
        *[pin for p in (_cifar.CIFAR_10, _cifar.CIFAR_100) for pin in (*p.digests.values(), p.remote.sha256)],
        *[remote.sha256 for remote in _svhn._FILES],
    ]
    assert len(set(pins)) == len(pins) == 28
    assert all(len(pin) == 64 and set(pin) <= set("0123456789abcdef") for pin in pins)
    assert all(p.remote.url.startswith("https://") and p.remote.size > 0 for p in (*_mnist._MNIST, *_mnist._FASHION))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real MNIST in {os.path.relpath(REAL)}")
def test_the_real_mnist_is_recognised():
    mnist = data.mnist(REAL)
    assert [len(s) for s in (mnist.train, mnist.validation, mnist.test)] == [50_000, 10_000, 10_000]
    assert mnist.validation.labels[:5].tolist() == [5, 0, 4, 1, 9]  # the first training images, as everyone knows them
    assert np.bincount(mnist.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train.inputs[0].max() == 1
    # the training images' mean and deviation that other tools write down: 0.1307 and 0.3081
    every = np.concatenate([mnist.train.inputs[0].ravel(), mnist.validation.inputs[0].ravel()])
    assert round(float(every.mean(dtype=float)), 4) == 0.1307
    assert round(float(every.std(dtype=float)), 4) == 0.3081


# CIFAR's two forms.


def small_cifar(published):
    """Four random images a file, as if they were the published ones: records by file, and what tells of them."""
    records = {
        name: np.column_stack(
            [*[RNG.integers(0, label.classes, 4, np.uint8) for label in published.labels], RNG.integers(0, 256, (4, 3072), np.uint8)]
        )
        for name in published.digests
    }
    return records, published._replace(digests={name: sha256(rows.tobytes()) for name, rows in records.items()})


CIFAR = {published.name: small_cifar(published) for published in (_cifar.CIFAR_10, _cifar.CIFAR_100)}
CASES = [(name, form) for name in CIFAR for form in (0, 1)]


def contents(name, form, file):
    records, published = CIFAR[name]
    if form == 0:
        return records[file].tobytes()
    width = len(published.labels)
    lists = {label.key: records[file][:, i].tolist() for i, label in enumerate(published.labels)}
    return pickled(lists, np.ascontiguousarray(records[file][:, width:]), [b"a.png"] * 4)


def write_cifar(folder, name, form, how):
    records, published = CIFAR[name]
    suffix = (".bin", "")[form]
    if how == "archive":
        with tarfile.open(folder / published.archive(form), "w:gz") as tar:
            for file in reversed(records):
                info = tarfile.TarInfo(f"{published.folders[form]}/{file}{suffix}")
                info.size = len(contents(name, form, file))
                tar.addfile(info, io.BytesIO(contents(name, form, file)))
        return
    place = folder / published.folders[form] if how == "folder" else folder
    place.mkdir(exist_ok=True)
    for file in records:
        (place / (file + suffix)).write_bytes(contents(name, form, file))


@pytest.mark.parametrize(("name", "form"), CASES)
@pytest.mark.parametrize("how", ["archive", "folder", "files"])
def test_cifar_is_the_same_from_every_form(name, form, how, tmp_path):
    records, published = CIFAR[name]
    write_cifar(tmp_path, name, form, how)
    before = sorted(os.listdir(tmp_path))
    dataset = _cifar.load(published, tmp_path, validation=3)
    assert sorted(os.listdir(tmp_path)) == before  # nothing extracted
    rows, width = np.concatenate(list(records.values())), len(published.labels)
    for split, part in ((dataset.validation, rows[:3]), (dataset.train, rows[3:-4]), (dataset.test, rows[-4:])):
        np.testing.assert_array_equal(split.labels, part[:, width - 1])  # of CIFAR-100's two labels the fine one
        assert (split.inputs[0].dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert split.inputs[0].shape == (len(part), 32, 32, 3)
        for row, column, channel in ((0, 0, 0), (3, 17, 1), (31, 31, 2)):  # channel by channel, row by row
            np.testing.assert_array_equal(split.inputs[0][:, row, column, channel], part[:, width + 1024 * channel + 32 * row + column])
    assert (dataset.name, dataset.classes) == (name, {"CIFAR-10": 10, "CIFAR-100": 100}[name])


@pytest.mark.parametrize(("name", "form"), CASES)
def test_damaged_cifar_files_are_told(name, form, tmp_path):
    _, published = CIFAR[name]
    write_cifar(tmp_path, name, form, "files")
    path = tmp_path / (list(published.digests)[-1] + (".bin", "")[form])
    content = bytearray(path.read_bytes())
    content[6000] ^= 1
    path.write_bytes(content)
    assert f"{path}: found content with SHA-256" in refused(_cifar.load, published, tmp_path)
    path.write_bytes(content[:-1])
    assert f"{path}: found" in refused(_cifar.load, published, tmp_path)
    path.unlink()
    assert f"{path}: found No such file or directory" in refused(_cifar.load, published, tmp_path)
    assert f"data set {name}: found neither form in" in refused(getattr(data, name.lower().replace("-", "")), tmp_path / "nowhere")


def test_a_cifar_archive_without_a_batch_is_told(tmp_path):
    _, published = CIFAR["CIFAR-10"]
    write_cifar(tmp_path, "CIFAR-10", 0, "archive")
    message = refused(_cifar.load, published._replace(digests={**published.digests, "data_batch_6": ""}), tmp_path)
    assert f"{tmp_path}/cifar-10-binary.tar.gz: found no 'cifar-10-batches-bin/data_batch_6.bin'" in message


# SVHN, in MATLAB's form.


def matlab(count):
    """A file of random images whose labels are 1 to 10, with 10 for the digit 0."""
    arrays = {"X": RNG.integers(0, 256, (32, 32, 3, count), np.uint8), "y": RNG.integers(1, 11, (count, 1), np.uint8)}
    file = io.BytesIO()
    savemat(file, arrays, do_compression=True)
    return arrays, file.getvalue()


def test_svhn_is_read_from_matlab_files_that_are_the_published_ones(tmp_path):
    (train, content), (test, content_test) = matlab(9), matlab(5)
    remotes = [_svhn.Remote(f"https://home/{name}_32x32.mat", 0, sha256(c)) for name, c in (("train", content), ("test", content_test))]
    (tmp_path / "train_32x32.mat").write_bytes(content)
    assert refused(_svhn.load, remotes, tmp_path) == (
        f"data set SVHN: found no test_32x32.mat in '{tmp_path}'; expected the published file.\n  Its home is https://home/test_32x32.mat"
    )
    (tmp_path / "test_32x32.mat").write_bytes(content_test)
    dataset = _svhn.load(remotes, tmp_path, validation=4)
    for split, arrays, part in (
        (dataset.validation, train, slice(4)),
        (dataset.train, train, slice(4, None)),
        (dataset.test, test, slice(None)),
    ):
        np.testing.assert_array_equal(split.inputs[0].transpose(1, 2, 3, 0), arrays["X"][..., part])
        digits = [0 if y == 10 else y for y in arrays["y"].ravel()[part]]
        assert split.labels.tolist() == digits
        assert (split.inputs[0].dtype, split.labels.dtype) == (np.uint8, np.int32)
    (tmp_path / "test_32x32.mat").write_bytes(content_test[:-1])
    assert "found content with SHA-256" in refused(_svhn.load, remotes, tmp_path)


def test_the_quadratic_s_points_are_numpy_s_own():
    quadratic = data.quadratic()
    for split, seed, first, last in ((quadratic.train, 42, 0.2980285, 0.072037764), (quadratic.test, 43, 0.15443996, 0.5671685)):
        assert split.inputs == ()
        assert split.labels.shape == (1000, 100)
        assert split.labels.dtype == np.float32
        drawn = np.random.RandomState(seed).standard_normal(100_000) * 0.6
        np.testing.assert_array_equal(split.labels.ravel(), drawn.astype(np.float32))
        assert (split.labels[0, 0], split.labels[-1, -1]) == (np.float32(first), np.float32(last))
    assert quadratic.validation.labels[0, 0] == np.float32(-0.45036882)
