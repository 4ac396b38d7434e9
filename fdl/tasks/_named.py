"""The tasks that commands know by name."""

from collections.abc import Callable

from fdl import data, models, nn
from fdl.core import FdlError, choose
from fdl.tasks import _deepobs, _text
from fdl.tasks._functions import FunctionTask
from fdl.tasks._landscapes import landscapes
from fdl.tasks._task import Task


def digits_cnn() -> Task:
    """A small convolutional network on 8 x 8 handwritten digits, 15 epochs of batches of 64."""
    return Task("digits-cnn", data.digits(), models.cnn(10), batch_size=64, steps=255, evaluate_every=17)


def digits_mlp() -> Task:
    """A perceptron with one hidden layer of 64 on the same digits, 20 epochs."""
    return Task("digits-mlp", data.digits(), models.mlp(10), batch_size=64, steps=340, evaluate_every=17)


def vowels_lstm() -> Task:
    """An LSTM that tells nine speakers by series of 7 to 29 frames, 25 epochs of batches of 27."""
    return Task("vowels-lstm", data.vowels(), models.recurrent_classifier(nn.LSTM(64), 9), batch_size=27, steps=200, evaluate_every=8)


_FROM_FILES: dict[str, Callable[[_deepobs.Folder], Task]] = {
    "mnist-logreg": _deepobs.mnist_logreg,
    "mnist-mlp": _deepobs.mnist_mlp,
    "mnist-2c2d": _deepobs.mnist_2c2d,
    "fmnist-logreg": _deepobs.fmnist_logreg,
    "fmnist-mlp": _deepobs.fmnist_mlp,
    "fmnist-2c2d": _deepobs.fmnist_2c2d,
    "cifar10-3c3d": _deepobs.cifar10_3c3d,
    "mnist-vae": _deepobs.mnist_vae,
    "fmnist-vae": _deepobs.fmnist_vae,
    "cifar100-allcnnc": _deepobs.cifar100_allcnnc,
    "svhn-wrn164": _deepobs.svhn_wrn164,
    "tolstoi-charrnn": _text.tolstoi_charrnn,
}

named: dict[str, Callable[..., Task | FunctionTask]] = {
    "digits-cnn": digits_cnn,
    "digits-mlp": digits_mlp,
    "vowels-lstm": vowels_lstm,
    "sonnets-charrnn": _text.sonnets_charrnn,
    "adding": _text.adding,
    "quadratic-deep": _deepobs.quadratic_deep,
    **{name: landscape.task for name, landscape in landscapes.items()},
    **_FROM_FILES,
}
"""Functions that make a task, by its name; those whose data lies in files take their folder."""


def get(name: str, data_dir: _deepobs.Folder = None) -> Task | FunctionTask:
    """The task of this name.

    Args:
        name: a key of `named`.
        data_dir: the folder of its data set's files, for a task whose data does not come with fdl. Where not given, they are
            downloaded once, as `data.mnist` tells.

    Raises:
        FdlError: with what there is, for an unknown name; for a folder that is not needed, and files that are not right.
    """
    make = choose("task", name, named)
    if name in _FROM_FILES:
        return make(data_dir)
    if data_dir is not None:
        raise FdlError("--data-dir", f"{str(data_dir)!r} for {name}", f"no folder: the data of {name} comes with fdl")
    return make()
