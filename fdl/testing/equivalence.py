"""Optimizers beside independent references: optax, PyTorch, and the papers' rules in NumPy.

A wrong rule converges too. What finds it is one step from the same state with the same gradient, for gradients of every size,
and two hundred steps in float64 that must stay together.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fdl import optim
from fdl.core import compiler_options
from fdl.optim._base import accepted
from fdl.testing._cases import Case, Evaluated, Told
from fdl.testing._problems import COUNTS, given, points, problem

TOLERANCE = {"float64": 1e-13, "float32": 5e-5, "bfloat16": 3e-2}
"""The largest deviation of a right rule by dtype. float32: 1 - b2 is formed in float32 here, in Python by optax; bfloat16:
optax rounds every operation to 8 bits."""


class Comparison(NamedTuple):
    """One line of the table of equivalence."""

    case: str
    reference: str
    how: str
    dtype: str
    deviation: float
    tolerance: float

    @property
    def equal(self) -> bool:
        return self.deviation <= self.tolerance


def precision(dtype: str) -> Any:
    """64-bit types where `dtype` needs them."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def compare(case: Case) -> Iterator[Comparison]:
    """Every comparison of a case with the references that it has and that are installed."""
    if case.optax is not None and case.forced:
        for dtype in TOLERANCE:
            yield _line(case, "optax", "one step", dtype, max(one_step(case, dtype).values()))
    if case.reference is not None and case.forced:
        for dtype in TOLERANCE:
            yield _line(case, "NumPy", "30 steps, gradients given", dtype, open_loop(case, dtype))
    if not case.free:
        return
    for name, run in references(case).items():
        yield _line(case, name, f"{case.steps} steps", "float64", free_run(case, run))


def tolerance(case: Case, reference: str, dtype: str) -> float:
    """The largest deviation of a right rule."""
    return case.tolerance.get(f"{reference} {dtype}", case.tolerance.get(dtype, TOLERANCE[dtype]))


def _line(case: Case, reference: str, how: str, dtype: str, deviation: float) -> Comparison:
    return Comparison(case.name, reference, how, dtype, deviation, tolerance(case, reference, dtype))


def relative(ours: Any, theirs: Any, *, floor: Any = None, whole: bool = False) -> float:
    """The worst difference of two trees of (steps, ...), in units of what is largest over the steps.

    Args:
        ours, theirs: trees of arrays.
        floor: like them: the least unit.
        whole: whether the unit is a leaf's largest value, where a rule mixes coordinates, instead of the coordinate's own. Where
            the reference is always 0, so must ours be.
    """
    worst = 0.0
    floors = [0.0] * len(jax.tree.leaves(theirs)) if floor is None else jax.tree.leaves(floor)
    for a, b, least in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), floors, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if not np.isfinite(b).all():
            raise ValueError("the reference is not finite")
        unit = np.maximum(np.abs(b).max() if whole else np.abs(b).max(axis=0), least)
        with np.errstate(over="ignore", invalid="ignore"):
            wrong = np.abs(a - b) / np.where(unit > 0, unit, 1e-300)
        worst = max(worst, float(np.nan_to_num(wrong, nan=np.inf).max()))
    return worst


# ---- one step from the same state ----


def one_step(case: Case, dtype: str, ours: Any = None) -> dict[str, float]:
    """Deviation of fdl's update and of each slot from optax's, after one step from optax's own states; `ours` instead of the case's."""
    ours = case.ours if ours is None else ours
    with precision(dtype):
        before, updates, after = _optax_steps(case, dtype)
        g, p, values = given(case.shape, dtype)
        like = jax.tree.map(lambda x: x[0], p)
        whole = case.shape == "tree"

        def step(state: Any, count: Any, g: Any, p: Any, value: Any) -> Any:
            return ours.update(g, optim.state_from_optax(ours, state, like, count), p, value=value)

        def everything() -> Any:
            counts = jnp.asarray(COUNTS, jnp.int32)
            wanted = jax.vmap(lambda state: optim.state_from_optax(ours, state, like), axis_size=len(COUNTS))(after)
            update, new = jax.vmap(step)(before, counts, g, p, values)
            return ours.init(like), optim.state_from_optax(ours, jax.tree.map(lambda s: s[0], before), like), update, new, wanted

        with jax.numpy_dtype_promotion("standard"):
            start, theirs, update, new, wanted = _compiled(everything)()
        errors = {"update": relative(update, updates, whole=whole)}
        start, theirs, new, wanted = map(_slots, (start, theirs, new, wanted))
        for slot in theirs:
            errors[slot] = relative(new[slot], wanted[slot], whole=whole)
            errors[f"start {slot}"] = relative(start[slot][None], theirs[slot][None], whole=whole)
    return errors


def _slots(state: Any) -> dict[str, Any]:
    """A state's arrays by their paths, but for what optax does not keep everywhere: steps, and the mean loss of accumulated batches."""
    named = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}
    return {name: leaf for name, leaf in named.items() if not name.endswith(("['step']", "['loss']"))}


@functools.cache
def _optax_steps(case: Case, dtype: str) -> Any:
    """optax in `dtype`: states before, updates and states after each step."""
    import optax

    transform = case.optax
    g, p, values = given(case.shape, dtype)

    def step(state: Any, given: Any) -> Any:
        count, g, p, value = given
        names = getattr(case.ours, "optax_counts", ("count",))
        counts = {name: count for name in names if optax.tree_utils.tree_get_all_with_path(state, name)}
        state = optax.tree_utils.tree_set(state, **counts)
        update, after = transform.update(g, state, p, **accepted(transform.update, {"value": value}))
        return after, (state, update, after)

    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        inputs = (jnp.asarray(COUNTS, jnp.int32), g, p, values)
        run = lambda: jax.lax.scan(step, transform.init(jax.tree.map(lambda x: x[0], p)), inputs)[1]
        return _compiled(run)()


# ---- the papers' rules, gradients given ----


def open_loop(case: Case, dtype: str, ours: Any = None) -> float:
    """Deviation of fdl's updates in `dtype` from the NumPy reference's in float64, on one sequence of gradients of every size."""
    ours = case.ours if ours is None else ours
    steps = 30
    with precision(dtype):
        g, _, values = jax.tree.map(lambda x: x[:steps], given(case.shape, dtype))
        start = jax.tree.map(lambda x: jnp.asarray(x[0], dtype), points(case.shape))
        tree: Any
        leaves, tree = jax.tree.flatten(start)
        sent = zip(*[np.asarray(x, np.float64) for x in jax.tree.leaves(g)])
        told = [Told(list(g), float(value)) for g, value in zip(sent, np.asarray(values, np.float64))]
        path = _path(case.reference, _rounded(ours_numbers(case.ours), dtype), leaves, told)
        rows = [np.stack([np.asarray(point[i]) for point in path]) for i in range(len(leaves))]
        params = jax.tree.map(lambda x: jnp.asarray(x[:-1], dtype), tree.unflatten(rows))

        def step(state: Any, given: Any) -> Any:
            g, p, value = given
            update, state = ours.update(g, state, p, value=value)
            return state, update

        updates = _compiled(lambda: jax.lax.scan(step, ours.init(start), (g, params, values))[1])()
    wanted = tree.unflatten([np.diff(x, axis=0) for x in rows])
    # A small step is the difference of two large numbers in the reference: it is known to float64's precision of these.
    floor = tree.unflatten([0.01 * max(np.abs(x).max(), 1e-3) for x in rows])
    return relative(updates, wanted, floor=floor, whole=case.shape == "tree")


def ours_numbers(optimizer: Any) -> Any:
    """The optimizer with Python floats for numbers: what a reference reads."""
    return jax.tree.map(float, optimizer)


def _rounded(optimizer: Any, dtype: str) -> Any:
    """The numbers that arithmetic in `dtype` works with."""
    return optimizer if dtype == "float64" else jax.tree.map(lambda x: float(np.float32(x)), optimizer)


def _path(reference: Any, o: Any, leaves: list[Any], told: list[Told]) -> list[Any]:
    run = reference(o, [np.asarray(x, np.float64) for x in leaves])
    path = [next(run)]
    for answer in told:
        path.append(run.send(answer))
    return [point.params if isinstance(point, Evaluated) else point for point in path]


# ---- free runs ----


def references(case: Case) -> dict[str, Any]:
    """By name, functions that give parameters (and those to be measured) after each of its steps; those that are installed."""
    found: dict[str, Any] = {}
    if case.optax is not None:
        found["optax"] = lambda: (trajectory(case.optax, case.shape, case.steps)[0], None)
    if case.torch is not None and _torch() is not None:
        found["PyTorch"] = lambda: _torch_trajectory(case)
    if case.reference is not None:
        found["NumPy"] = lambda: _numpy_trajectory(case)
    return found


def free_run(case: Case, reference: Any, ours: Any = None) -> float:
    """Deviation of fdl's parameters over the case's steps in float64 from those of one of `references`."""
    with jax.enable_x64(True):
        theirs = reference()
        found = trajectory(case.ours if ours is None else ours, case.shape, case.steps)
        if theirs[1] is None:
            found, theirs = found[0], theirs[0]
        start = problem(case.shape).start
        moved = min(np.abs(np.asarray(a)[-1] - b).max() for a, b in zip(jax.tree.leaves(theirs), jax.tree.leaves(start)))
        if moved < 1e-9:
            raise ValueError(f"the reference of {case.name} leaves a parameter where it was: the comparison would say nothing")
        return relative(found, theirs, whole=case.shape == "tree")


def trajectory(transform: Any, shape: str = "vector", steps: int = 200) -> Any:
    """Parameters after each step and those to be measured, by fdl's or optax's rule; leaves (steps, ...)."""
    on = problem(shape)
    curvature = jax.tree.map(jnp.asarray, on.curvature)
    on = on._replace(curvature=curvature)

    def step(carry: Any, _: Any) -> Any:
        x, state = carry
        x, state = optim.step(transform, on.gradient(x), state, x, value=on.loss(x), objective=on.loss)
        return (x, state), (x, optim.evaluation_params(transform, state, x))

    x = jax.tree.map(jnp.asarray, on.start)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        return _compiled(lambda: jax.lax.scan(step, (x, transform.init(x)), length=steps)[1])()


def _numpy_trajectory(case: Case) -> Any:
    on = problem(case.shape)
    tree: Any
    leaves, tree = jax.tree.flatten(on.start)

    def at(p: Any) -> tuple[float, list[np.ndarray]]:
        x = tree.unflatten(p)
        return float(on.loss(x)), jax.tree.leaves(on.gradient(x))

    run = case.reference(ours_numbers(case.ours), leaves)  # type: ignore[misc]
    point, rows = next(run), []
    for _ in range(case.steps):
        value, g = at(point.params if isinstance(point, Evaluated) else point)
        point = run.send(Told(g, value, at))
        rows.append(point)
    stack = lambda points: tree.unflatten([np.stack(column) for column in zip(*points)])
    if isinstance(rows[0], Evaluated):
        return stack([row.params for row in rows]), stack([row.evaluation for row in rows])
    return stack(rows), None


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def _torch_trajectory(case: Case) -> Any:
    torch, on = _torch(), problem(case.shape)
    tree: Any
    leaves, tree = jax.tree.flatten(on.start)
    x = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
    optimizer = case.torch(torch, x, ours_numbers(case.ours))  # type: ignore[misc]
    rows = []
    for _ in range(case.steps):
        at = tree.unflatten([p.detach().numpy() for p in x])
        for p, g in zip(x, jax.tree.leaves(on.gradient(at))):
            p.grad = torch.tensor(g)
        optimizer.step()
        rows.append([p.detach().numpy().copy() for p in x])
    return tree.unflatten([np.stack(column) for column in zip(*rows)]), None


def _compiled(function: Any) -> Any:
    """For one call: compiled without optimization, which takes a fraction of the time."""
    return jax.jit(function, compiler_options=compiler_options("once"))
