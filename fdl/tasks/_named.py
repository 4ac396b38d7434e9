"""The tasks that commands know by name."""

from collections.abc import Callable

from fdl import data, models, nn
from fdl.core import choose
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


named: dict[str, Callable[[], Task | FunctionTask]] = {
    "digits-cnn": digits_cnn,
    "digits-mlp": digits_mlp,
    "vowels-lstm": vowels_lstm,
    **{name: landscape.task for name, landscape in landscapes.items()},
}
"""Functions that make a task, by its name."""


def get(name: str) -> Task | FunctionTask:
    """The task of this name; raises `FdlError` with what there is."""
    return choose("task", name, named)()
