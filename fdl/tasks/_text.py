"""Recurrent problems: text with a state that is carried from batch to batch, and the adding problem."""

import jax
import jax.numpy as jnp

from fdl import data, losses, models, nn
from fdl.data import Dataset
from fdl.data._mnist import Folder
from fdl.tasks._task import Task


def sonnets_charrnn() -> Task:
    """Shakespeare's sonnets, character by character, by two LSTMs with a carried state, 20 epochs."""
    return _characters("sonnets-charrnn", data.sonnets(), 20)


def tolstoi_charrnn(folder: Folder | None = None) -> Task:
    """`tolstoi_char_rnn`: War and Peace, character by character, by two LSTMs with a carried state, 200 epochs."""
    return _characters("tolstoi-charrnn", data.tolstoi(folder), 200)


def _characters(name: str, dataset: Dataset, epochs: int) -> Task:
    """Batches follow the text, one row a stream; measured after each epoch."""
    streams = int(dataset.train.inputs[1].sum())
    every = len(dataset.train) // streams
    return Task(
        name, dataset, models.CharacterModel(len(dataset.vocabulary)),
        batch_size=streams, steps=epochs * every, evaluate_every=every, ordered=True,
    )  # fmt: skip


def adding() -> Task:
    """The adding problem with series of 50 to 55 steps, by an LSTM, 5 epochs of batches of 50."""
    return Task(
        "adding", data.adding(50), nn.Sequential(nn.Recurrent(nn.LSTM(64)), nn.Dense(1)), losses.mean_squared_error,
        metrics={"solved": solved}, batch_size=50, steps=2000, evaluate_every=100, objective="loss", maximise=False,
    )  # fmt: skip


def solved(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """The share of series whose sum is right to 0.04, as Hochreiter & Schmidhuber 1997 count them."""
    return (jnp.abs(outputs - labels) < 0.04).astype(jnp.float32).mean()
