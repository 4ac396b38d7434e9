"""Recurrent cells on series of unequal length: which of nine speakers says /ae/?

    python experiments/train_rnn.py --cell gru

Expected test accuracy, mean over ten seeds: RNN 0.963 (0.905 to 0.984), LSTM 0.967, GRU 0.980, each in six seconds on two
CPU cores, compilation included. With `--target 0.9` it fails below that.
"""

from dataclasses import dataclass
from typing import Literal

import tyro

from fdl import data, models, nn, optim, train
from fdl.tasks import Task


@dataclass
class Options:
    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    features: int = 64
    lr: float = 1e-2
    steps: int = 200
    seed: int = 0
    target: float = 0.0


def main(options: Options) -> None:
    cell = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[options.cell](options.features)
    task = Task(
        f"vowels-{options.cell}", data.vowels(), models.recurrent_classifier(cell, classes=9),
        batch_size=27, steps=options.steps, evaluate_every=options.steps // 10,
    )  # fmt: skip
    print(task.summary(), "\n")
    fit = train.fit(task, optim.Adam(lr=options.lr), options.seed, title=task.name)
    for step, accuracy in fit.curves["validation", "accuracy"]:
        print(f"step {step:4}  validation accuracy {accuracy:.4f}")
    print(f"test accuracy {fit.test['accuracy']:.4f}")
    assert fit.test["accuracy"] >= options.target, f"below the target {options.target}"


if __name__ == "__main__":
    main(tyro.cli(Options))
