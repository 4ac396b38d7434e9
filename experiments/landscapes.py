"""Tunes optimizers on a function of two numbers and draws the ways they take.

    python experiments/landscapes.py --landscape rosenbrock

Prints the table and where the pictures are: `figures/trajectories.png` and `figures/trajectories.svg`, an animation.
Expected on rosenbrock: Adam at the lowest mean loss, 0.0025, and momentum lower still but for the seed in ten with which it
diverges; half a minute on two CPU cores.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich import print

from fdl import compare, optim, report, tasks
from fdl.compare import space


@dataclass
class Options:
    landscape: str = "rosenbrock"
    noise: float = 0.0
    trials: int = 13
    seeds: int = 3
    final_seeds: int = 10
    folder: Path | None = None


def main(options: Options) -> None:
    contestants = {
        "sgd": optim.SGD(lr=space.log(1e-5, 1)),
        "momentum": optim.Momentum(lr=space.log(1e-6, 0.1)),
        "nesterov": optim.Momentum(lr=space.log(1e-6, 0.1), nesterov=True),
        "adagrad": optim.Adagrad(lr=space.log(1e-3, 100)),
        "rmsprop": optim.RMSProp(lr=space.log(1e-5, 1)),
        "adam": optim.Adam(lr=space.log(1e-4, 10)),
    }
    task = tasks.landscapes[options.landscape].task(options.noise)
    study = compare.study(
        task, contestants, trials=options.trials, seeds=options.seeds, final_seeds=options.final_seeds,
        folder=options.folder or Path("studies", options.landscape),
    )  # fmt: skip
    print(report.table(study))
    print(report.write_landscape(study))


if __name__ == "__main__":
    main(tyro.cli(Options))
