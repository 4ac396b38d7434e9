"""One update of each classic: fdl beside optax and PyTorch (foreach and fused), as a multiple of what moving the bytes takes.

    python experiments/bench_optimizers.py [--sizes 5 6 7 8] [--leaves 1 1000] [--rounds 15] [--only adam ...]

For 10^5 to 10^8 float32 parameters in one array and in a thousand. A call of its own updates parameters and state in place
(donated); "scanned" is ten such steps inside one `lax.scan`, as in a training segment, each with another gradient. The floor is
the update's traffic, each array read once and all but the gradient written once, at the best rate that is measured for it in the
same run. Everyone's parameters after the first step must be fdl's, or it is not timed. They are timed
in turn, in another order each round; printed are medians in milliseconds and, in brackets, as multiples of the floor.

Measured on two cores with AVX-512, jax 0.10.2, optax 0.2.8 and PyTorch 2.13: one array of 10^7, milliseconds, fdl, optax, PyTorch's
fused, then fdl and optax scanned. SGD 3.2, 3.4, 2.8, 2.2, 2.3; momentum 6.9, 5.1, 3.9, 3.8, 3.8; Adagrad 7.4, 7.4, 3.9, 4.9, 4.8;
RMSProp 8.0, 8.3, -, 6.8, 6.6; Adam 11.2, 11.5, 6.6, 9.5, 9.4; Adadelta 27, 43, -, 18, 22. A thousand arrays: Adam 25.6, 25.5, 14.2, 9.4,
9.4; momentum 19.3, 18.4, 8.8, 7.4, 7.0. So fdl and optax are level but for Adadelta, whose update fdl divides less.

What bounds them. XLA:CPU compiles one loop for each output: Adam moves ten arrays' bytes (m and v read and written, then read again for
the parameters) where seven would do, which is 1.4 times the floor; the rest, up to 1.8, are stores that first read what they overwrite,
which PyTorch's fused kernel does not. In a call of its own JAX passes every array through its dispatch, 7,000 for Adam in a thousand,
some 2 microseconds each; in a training segment, where fdl's updates run, there is none of that, and they take two thirds of PyTorch's.
"""

import itertools
import time
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

from fdl import core, optim

try:
    import torch
except ImportError:
    torch = None

CLASSICS = {
    # fdl, optax, PyTorch's class and options, slots
    "sgd": (optim.SGD(1e-3), optax.sgd(1e-3), ("SGD", {"lr": 1e-3}), 0),
    "momentum": (optim.Momentum(1e-3), optax.sgd(1e-3, 0.9), ("SGD", {"lr": 1e-3, "momentum": 0.9}), 1),
    "adagrad": (
        optim.Adagrad(1e-3, 0.1, 1e-7, eps_in_sqrt=True), optax.adagrad(1e-3),
        ("Adagrad", {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7}), 1,
    ),
    "adadelta": (optim.Adadelta(), optax.adadelta(1.0, 0.95, 1e-6), ("Adadelta", {"lr": 1.0, "rho": 0.95, "eps": 1e-6}), 2),
    "rmsprop": (optim.RMSProp(1e-3), optax.rmsprop(1e-3, eps_in_sqrt=False), ("RMSprop", {"lr": 1e-3, "alpha": 0.9}), 1),
    "adam": (optim.Adam(1e-3), optax.adam(1e-3), ("Adam", {"lr": 1e-3}), 2),
}  # fmt: skip
SCANNED = 10


def arrays(size, leaves, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(size // leaves, np.float32) for _ in range(leaves)]


def jax_call(optimizer, params, grads):
    """One update as a call of its own; the parameters after the first."""
    step = core.jit(lambda params, state, grads: optim.step(optimizer, grads, state, params), donate_argnums=(0, 1))
    grads, now = jax.device_put(grads), [jax.device_put(params)]
    now.append(jax.jit(optimizer.init)(now[0]))
    return _timed(step, now, grads)


def jax_scanned(optimizer, params, grads):
    """`SCANNED` updates within one program, the gradient changing sign and size."""

    def steps(params, state, grads):
        def step(carry, scale):
            params, state = carry
            return optim.step(optimizer, [g * scale for g in grads], state, params), None

        return jax.lax.scan(step, (params, state), jnp.linspace(1, -1, SCANNED))[0]

    grads, now = jax.device_put(grads), [jax.device_put(params)]
    now.append(jax.jit(optimizer.init)(now[0]))
    run, first = _timed(core.jit(steps, donate_argnums=(0, 1)), now, grads)
    return (lambda: run() / SCANNED), first


def _timed(step, now, grads):
    def run():
        begin = time.perf_counter()
        now[:] = step(*now, grads)
        jax.block_until_ready(now)
        return time.perf_counter() - begin

    run()
    return run, np.asarray(now[0][-1])


def torch_call(name, options, params, grads):
    p = [torch.tensor(x, requires_grad=True) for x in params]
    for x, g in zip(p, grads):
        x.grad = torch.tensor(g)
    optimizer = getattr(torch.optim, name)(p, **options)

    def run():
        begin = time.perf_counter()
        optimizer.step()
        return time.perf_counter() - begin

    run()
    return run, p[-1].detach().numpy().copy()


def floor(size, slots):
    """Seconds to read parameters, gradient and slots once and write all but the gradient once, with next to no arithmetic.

    At the better of two rates, measured on arrays of these sizes: XLA's in one pass, and PyTorch's, which reads the gradient anew for
    each array.
    """
    count = 1 + slots
    move = core.jit(lambda arrays, g: [a + 0.5 * g for a in arrays], donate_argnums=0)
    now, g = [[jnp.ones(size) for _ in range(count)]], jnp.ones(size)

    def xla():
        now[0] = jax.block_until_ready(move(now[0], g))

    best = min(_seconds(xla) for _ in range(12))
    if torch is not None:
        arrays, gradients = [torch.ones(size) for _ in range(count)], [torch.ones(size)] * count
        best = min(best, *((2 * count + 1) / (3 * count) * _seconds(lambda: torch._foreach_add_(arrays, gradients)) for _ in range(12)))
    return best


def _seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def rows(name, size, leaves):
    """Everyone's timed calls that agree with fdl's: {who: function that returns seconds}."""
    ours, theirs, (kind, options), _ = CLASSICS[name]
    params, grads = arrays(size, leaves, 0), arrays(size, leaves, 1)
    made = {"fdl": jax_call(ours, params, grads), "optax": jax_call(theirs, params, grads)}
    if torch is not None:
        for form in ("foreach", "fused"):
            if form == "fused" and name not in ("sgd", "momentum", "adagrad", "adam"):  # PyTorch has no other fused on CPU
                continue
            made[f"PyTorch {form}"] = torch_call(kind, {**options, form: True}, params, grads)
    agree = {who: (run, after) for who, (run, after) in made.items() if np.allclose(after, made["fdl"][1], rtol=1e-4, atol=1e-5)}
    for who in made.keys() - agree.keys():
        print(f"{name}: {who} finds other parameters and is not timed")
    scanned = {"fdl scanned": jax_scanned(ours, params, grads), "optax scanned": jax_scanned(theirs, params, grads)}
    return {who: run for who, (run, _) in (agree | scanned).items()}


def main(sizes: tuple[int, ...] = (5, 6, 7, 8), leaves: tuple[int, ...] = (1, 1000), rounds: int = 15, only: tuple[str, ...] = ()) -> None:
    """Args: sizes: powers of ten. leaves: arrays that the parameters are divided into. rounds: medians of. only: optimizers."""
    table, who = Table(title="milliseconds an update (multiples of the floor)"), ["fdl", "optax", "PyTorch foreach", "PyTorch fused"]
    columns = [*who, "fdl scanned", "optax scanned"]
    for head in ("optimizer", "parameters", "leaves", "floor", *columns):
        table.add_column(head, justify="right")
    for power, count, name in itertools.product(sizes, leaves, only or CLASSICS):
        runs = rows(name, 10**power, count)
        times, order = {who: [] for who in runs}, np.random.default_rng(0)
        for _ in range(rounds):
            for who in order.permutation(list(runs)):  # PyTorch's threads still spin when the next one begins
                times[who].append(runs[who]())
        least = floor(10**power, CLASSICS[name][3])
        shown = {who: f"{1e3 * median(t):.3g} ({median(t) / least:.2f})" for who, t in times.items()}
        table.add_row(name, f"10^{power}", str(count), f"{1e3 * least:.3g}", *(shown.get(who, "") for who in columns))
        del runs
    Console(width=150).print(table)


if __name__ == "__main__":
    tyro.cli(main)
