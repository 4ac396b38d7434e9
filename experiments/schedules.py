"""Draws learning rates over a run: every schedule that fdl has, each as an optimizer's next step reads it from its state.

    python experiments/schedules.py --output schedules.png

Takes a few seconds.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import tyro

from fdl import optim

STEPS = 300
SCHEDULES = {
    "Constant": optim.Constant(1.0),
    "Linear": optim.Linear(1.0, STEPS, warmup=30),
    "Polynomial, power 2": optim.Polynomial(1.0, STEPS, power=2.0),
    "Exponential": optim.Exponential(1.0, 100, rate=0.3),
    "Exponential, staircase": optim.Exponential(1.0, 60, rate=0.5, staircase=True),
    "InverseSqrt": optim.InverseSqrt(1.0, warmup=30),
    "Cosine": optim.Cosine(1.0, STEPS, warmup=30),
    "Restarts, factor 2": optim.Restarts(1.0, 43, factor=2.0),
    "OneCycle": optim.OneCycle(1.0, STEPS),
    "OneCycle, linear": optim.OneCycle(1.0, STEPS, linear=True),
    "WarmupStableDecay": optim.WarmupStableDecay(1.0, STEPS, warmup=30),
    "WarmupStableDecay, root": optim.WarmupStableDecay(1.0, STEPS, warmup=30, root=True),
    "Piecewise": optim.Piecewise((1.0, 0.3, 0.1), (100, 200)),
    "Piecewise, linear": optim.Piecewise((0.2, 1.0, 0.4, 0.0), (60, 180, STEPS), "linear"),
    "Warmup of Restarts": optim.Warmup(optim.Restarts(1.0, 90), warmup=30),
    "Join of Cosine and Linear": optim.Join((optim.Cosine(1.0, 150, end=0.5), optim.Linear(0.5, 150)), (150,)),
}


@dataclass
class Options:
    output: Path = Path("schedules.png")


@jax.jit
def rates(optimizer):
    """The learning rate of each step, from the state before it."""

    def step(state, _):
        rate = optim.hyperparameters(optimizer, state)["lr"]
        return optimizer.update({}, state, {})[1], rate

    return jax.lax.scan(step, optimizer.init({}), length=STEPS + 20)[1]


def main(options: Options) -> None:
    figure, panels = plt.subplots(4, 4, figsize=(10, 7), sharex=True, sharey=True, layout="constrained")
    for axes, (name, schedule) in zip(panels.flat, SCHEDULES.items()):
        axes.plot(rates(optim.SGD(lr=schedule)), color="#0072b2")
        axes.set_title(name, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("step", fontsize=9)
    figure.savefig(options.output, dpi=90)
    print(options.output)


if __name__ == "__main__":
    main(tyro.cli(Options))
