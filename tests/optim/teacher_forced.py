"""One step from the same state with the same gradient as optax, many times: the comparison that finds wrong rules.

A wrong rule converges too, and a free run forgives it in float32; a single step from a shared state does neither.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

COUNTS = (*range(30), 0, 1, 999_999)
"""Steps already taken before each compared step: thirty in a row, then the first, second and millionth from a used state."""


def precision(dtype):
    """64-bit types where `dtype` needs them."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


@functools.cache
def gradients():
    """(steps, coordinates): each coordinate keeps its size, 1e-9 to 1e3, and changes sign; some zeros, some jumps in size."""
    rng = np.random.default_rng(0)
    size = np.logspace(-9, 3, 25) * rng.uniform(0.5, 2, (len(COUNTS), 25))
    jumps = 10 ** rng.uniform(-9, 3, (len(COUNTS), 4))
    g = np.concatenate([size, jumps, np.zeros((len(COUNTS), 1)), np.ones((len(COUNTS), 2))], axis=1)
    g = g * rng.choice([-1, 1], g.shape) * (rng.uniform(size=g.shape) > 0.1)
    g[:15, -1] = 0  # asleep, then awake; the third from the end never wakes
    return g


def slots_of(case, state):
    return {ours: optax.tree_utils.tree_get(state, theirs) for ours, theirs in case.slots.items()}


@functools.cache
def reference(case, dtype):
    """optax in `dtype`: slots before, gradients, updates and slots after each step."""
    transform = case.optax

    def step(state, inputs):
        count, g = inputs
        if optax.tree_utils.tree_get(state, "count") is not None:
            state = optax.tree_utils.tree_set(state, count=count)
        update, after = transform.update(g, state, jnp.zeros_like(g))
        return after, (slots_of(case, state), update, slots_of(case, after))

    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        g = jnp.asarray(gradients(), dtype)
        _, (before, updates, after) = jax.lax.scan(step, transform.init(g[0]), (jnp.asarray(COUNTS, jnp.int32), g))
    return before, g, updates, after


def relative(ours, theirs):
    """Worst difference of two (steps, coordinates) arrays, in units of that coordinate's largest value over the steps.

    For an update that unit is the learning rate or less with Adam and RMSProp, and the right size where updates are not of the
    rate's size. A sum that cancels is not held against either side. Where the reference is always 0, so must ours be.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert np.isfinite(theirs).all()
    unit = np.abs(theirs).max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        wrong = np.abs(ours - theirs) / np.where(unit > 0, unit, 1e-300)
    return float(np.nan_to_num(wrong, nan=np.inf).max())


def errors(ours, case, dtype):
    """Worst error of `ours` against optax's of `case`, {"start ...": , "update": , slot: }. Run inside `precision(dtype)`."""
    before, g, updates, after = reference(case, dtype)
    wide = jnp.float32 if dtype == "bfloat16" else dtype  # optax keeps its state in bfloat16, fdl in float32: the same values

    def step(count, g, slots):
        update, state = ours.update(g, {"step": count, **jax.tree.map(lambda s: s.astype(wide), slots)}, g)
        return update, {name: state[name] for name in slots}

    @jax.jit
    def compare():
        return ours.init(g[0]), jax.vmap(step)(jnp.asarray(COUNTS, jnp.int32), g, before)

    start, (update, new) = compare()
    assert update.dtype == g.dtype
    assert start["step"] == 0
    starts = {f"start {name}": relative(start[name][None], before[name][:1]) for name in before}
    return {**starts, "update": relative(update, updates), **{name: relative(new[name], after[name]) for name in new}}


TOLERANCE = {
    "float64": 1e-14,  # worst measured 4.4e-16 (update of RMSProp)
    "float32": 5e-5,  # worst measured 1.2e-5 (v of Adam: 1 - b2 is formed in float32 here, in Python by optax), else 8.2e-7
    "bfloat16": 3e-2,  # worst measured 1.2e-2 (update of Adam): optax rounds every operation to 8 bits, 4e-3 each
}
"""Largest error of a correct rule; the closest wrong one is in test_optim_mutants.py."""
