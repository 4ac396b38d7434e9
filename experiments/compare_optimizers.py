"""Compares optimizers of fdl, of optax and of one's own on a task, and writes a report.

    python experiments/compare_optimizers.py --task digits-mlp

Prints the table and where `report.html` is. Expected on digits-mlp: about 0.97 test accuracy for the first three, without
evidence of a difference, and 0.955 for the sign of the momentum; 13 seconds on two CPU cores, compilation included.
"""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import optax
import tyro
from rich import print

from fdl import compare, optim, report, tasks
from fdl.compare import space


@optim.optimizer
class SignMomentum(optim.Leafwise):
    """The sign of an average of gradients (Bernstein et al. 2018, "signSGD", algorithm 2), whole."""

    lr: optim.Hyperparameter = 1e-3
    momentum: optim.Hyperparameter = 0.9
    slots = ("m",)

    def rule(self, t, g, p, m):
        m = self.momentum * m + (1 - self.momentum) * g
        return -self.lr * jnp.sign(m), m


@dataclass
class Options:
    task: str = "digits-mlp"
    trials: int = 7
    seeds: int = 3
    final_seeds: int = 10
    folder: Path = Path("studies/compare-optimizers")


def main(options: Options) -> None:
    contestants = [
        optim.Momentum(lr=space.log(1e-3, 1), nesterov=True),
        optim.Adam(lr=space.log(1e-4, 1e-1)),
        optim.from_optax(optax.adamw, learning_rate=space.log(1e-4, 1e-1), weight_decay=1e-2),
        SignMomentum(lr=space.log(1e-5, 1e-2)),
    ]
    budget = {"trials": options.trials, "seeds": options.seeds, "final_seeds": options.final_seeds}
    study = compare.study(tasks.get(options.task), contestants, folder=options.folder, **budget)
    print(report.table(study))
    print(report.write(study))


if __name__ == "__main__":
    main(tyro.cli(Options))
