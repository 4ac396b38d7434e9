"""MNIST, Fashion-MNIST and CIFAR-10: their splits, from files of every form, and only from the published ones."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from python2 import pickled
from test_files import idx

from fdl import FdlError, data
from fdl.data import _cifar, _mnist
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
        *_cifar._DIGESTS.values(),
        _cifar._REMOTE.sha256,
    ]
    assert len(set(pins)) == len(pins) == 23
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

RECORDS = {
    name: np.column_stack([RNG.integers(0, 10, 4, np.uint8), RNG.integers(0, 256, (4, 3072), np.uint8)])
    for name in (*[f"data_batch_{i}" for i in range(1, 6)], "test_batch")
}
DIGESTS = {name: sha256(records.tobytes()) for name, records in RECORDS.items()}


def contents(form, name):
    records = RECORDS[name]
    return records.tobytes() if form.suffix else pickled(records[:, 0].tolist(), np.ascontiguousarray(records[:, 1:]), [b"a.png"] * 4)


def write_cifar(folder, form, how):
    if how == "archive":
        with tarfile.open(folder / form.archive, "w:gz") as tar:
            for name in reversed(RECORDS):
                info = tarfile.TarInfo(f"{form.folder}/{name}{form.suffix}")
                info.size = len(contents(form, name))
                tar.addfile(info, io.BytesIO(contents(form, name)))
        return
    place = folder / form.folder if how == "folder" else folder
    place.mkdir(exist_ok=True)
    for name in RECORDS:
        (place / (name + form.suffix)).write_bytes(contents(form, name))


@pytest.mark.parametrize("form", _cifar._FORMS, ids=lambda form: form.folder)
@pytest.mark.parametrize("how", ["archive", "folder", "files"])
def test_cifar_is_the_same_from_every_form(form, how, tmp_path):
    write_cifar(tmp_path, form, how)
    before = sorted(os.listdir(tmp_path))
    dataset = _cifar.load(DIGESTS, tmp_path, validation=4)
    assert sorted(os.listdir(tmp_path)) == before  # nothing extracted
    splits = {"validation": ["data_batch_1"], "train": [f"data_batch_{i}" for i in range(2, 6)], "test": ["test_batch"]}
    for name, batches in splits.items():
        records = np.concatenate([RECORDS[batch] for batch in batches])
        split = getattr(dataset, name)
        np.testing.assert_array_equal(split.labels, records[:, 0])
        assert (split.inputs[0].dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert split.inputs[0].shape == (len(records), 32, 32, 3)
        for row, column, channel in ((0, 0, 0), (3, 17, 1), (31, 31, 2)):  # channel by channel, row by row
            np.testing.assert_array_equal(split.inputs[0][:, row, column, channel], records[:, 1 + 1024 * channel + 32 * row + column])


@pytest.mark.parametrize("form", _cifar._FORMS, ids=lambda form: form.folder)
def test_damaged_cifar_files_are_told(form, tmp_path):
    write_cifar(tmp_path, form, "files")
    path = tmp_path / f"data_batch_3{form.suffix}"
    content = bytearray(path.read_bytes())
    content[6000] ^= 1
    path.write_bytes(content)
    assert f"{path}: found content with SHA-256" in refused(_cifar.load, DIGESTS, tmp_path)
    path.write_bytes(content[:-1])
    assert f"{path}: found" in refused(_cifar.load, DIGESTS, tmp_path)
    path.unlink()
    assert f"{path}: found No such file or directory" in refused(_cifar.load, DIGESTS, tmp_path)
    assert "data set CIFAR-10: found neither form in" in refused(data.cifar10, tmp_path / "nowhere")


def test_a_cifar_archive_without_a_batch_is_told(tmp_path):
    write_cifar(tmp_path, _cifar._FORMS[0], "archive")
    message = refused(_cifar.load, {**DIGESTS, "data_batch_6": ""}, tmp_path)
    assert f"{tmp_path}/cifar-10-binary.tar.gz: found no 'cifar-10-batches-bin/data_batch_6.bin'" in message


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
