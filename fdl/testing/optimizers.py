"""Does an optimizer behave? The laws that every optimizer of fdl keeps, as functions that say which one is broken."""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fdl import optim
from fdl.core import FdlError, compiler_options
from fdl.testing._cases import Case, hyperparameters, smoothed, with_value

STEPS = 10


def _require(condition: Any, found: str, expected: str, fix: str = "") -> None:
    if not condition:
        raise FdlError("law", found, expected, fix)


def _jit(function: Callable[..., Any]) -> Any:
    """Compiled for a few calls."""
    return jax.jit(function, compiler_options=compiler_options("once"))


# ---- a toy problem: a live matrix and vector, and a dead matrix whose gradient is always 0 ----


def start(dtype: Any = jnp.float64) -> Any:
    live = {"kernel": jnp.asarray([[1.0, -2.0, 0.5], [-0.7, 1.5, 0.9]], dtype), "bias": jnp.asarray([0.8, -1.2], dtype)}
    return {"live": live, "dead": {"kernel": jnp.ones((2, 2), dtype)}}


def loss(params: Any) -> jax.Array:
    x = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params["live"])])
    dead = params["dead"]["kernel"]
    never_fires = x.sum() * (jnp.zeros_like(dead) * dead).sum()  # coupled: derivatives pass through the dead unit, too
    return (x**2).sum() + 0.1 * (x**4).sum() + 0.2 * (x[1:] * x[:-1]).sum() + never_fires + 1


def run(optimizer: Any, params: Any = None, steps: int = STEPS) -> Any:
    """Parameters after some steps of descent."""

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        return optim.step(optimizer, grads, state, params, value=value, objective=loss), None

    params = start() if params is None else params
    (params, state), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, state


def _live(optimizer: Any) -> jax.Array:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(run(optimizer)[0]["live"])])


# ---- the laws ----


def values_are_traced(case: Case) -> None:
    """Another value of any hyperparameter changes the result and compiles nothing; a constant gives what a traced value gives."""
    traces = []

    def final(optimizer: Any) -> jax.Array:
        traces.append(1)
        return _live(optimizer)

    compiled, ours = _jit(final), smoothed(case) or case.ours
    first = compiled(ours)
    _require(np.isfinite(first).all(), "parameters that are not finite", "finite ones on the toy problem")
    for path, value in hyperparameters(ours).items():
        moved = any((compiled(with_value(ours, path, value * factor + offset)) != first).any() for factor, offset in ((0.5, 0), (0.8, 0.1)))
        idle = path.rpartition(".")[2] in case.idle
        _require(moved != idle, f"{path} {'changes the result' if moved else 'without influence'}", "the contrary")
    _require(len(traces) == 1, f"{len(traces)} traces", "one for all values", "Branch by jnp.where or lax.cond on hyperparameters.")
    _require((_jit(lambda: _live(ours))() == first).all(), "other bits for constants than for traced values", "the same")


def vmap_is_a_loop(case: Case) -> None:
    """Mapped over hyperparameters, training gives what a loop over them gives."""
    ours = smoothed(case) or case.ours
    each = [jax.tree.map(lambda x, s=s: x * s, ours) for s in (1.0, 0.9, 0.8)]
    stacked = jax.tree.map(lambda *values: jnp.stack([jnp.asarray(v) for v in values]), *each)
    single = _jit(_live)
    looped = np.stack([single(optimizer) for optimizer in each])
    apart = np.abs(np.asarray(_jit(jax.vmap(_live))(stacked)) - looped).max()
    _require(apart <= 1e-11, f"vmap and a loop {apart:.1e} apart", "at most 1e-11")
    _require((looped[0] != looped[1]).any(), "the same parameters for other hyperparameters", "other ones")


def derivatives_are_true(case: Case) -> None:
    """The derivative of the final loss by every hyperparameter is finite, dead units included; smooth rules equal finite differences."""
    value, gradient = _jit(lambda o: loss(run(o)[0])), _jit(jax.grad(lambda o: loss(run(o)[0])))
    ours = jax.tree.map(float, case.ours)
    bad = [path for path, g in hyperparameters(gradient(ours)).items() if not np.isfinite(g)]
    _require(
        not bad, f"derivatives that are not finite by {', '.join(bad)}", "finite ones", "Guard roots by optim.safe_sqrt, quotients too."
    )
    smooth = smoothed(case)
    if smooth is None:
        return
    smooth = jax.tree.map(float, smooth)
    found = hyperparameters(gradient(smooth))
    for path, number in hyperparameters(smooth).items():
        h = 1e-5 * (abs(number) or 1)
        low, high = (value(with_value(smooth, path, number + s * h)) for s in (-1, 1))
        expected = float(high - low) / (2 * h)
        tolerance = 1e-6 * max(abs(expected), 1e-3) + 1e-15 * float(value(smooth)) / h
        _require(abs(float(found[path]) - expected) <= tolerance, f"by {path} {float(found[path]):.9g}", f"{expected:.9g}, by differences")


def state_is_stable(case: Case) -> None:
    """Under `scan` the state keeps structure, shapes and dtypes, the updates have the parameters'; a swept rate widens nothing."""
    for dtypes in (["float64"], ["float32"], ["bfloat16"], ["float32", "bfloat16"]):
        with jax.enable_x64("float64" in dtypes):
            params = {d: jax.eval_shape(lambda d=d: start(jnp.dtype(d))) for d in dtypes}
            whole = lambda tree: sum(loss(jax.tree.map(lambda x: x.astype(jnp.result_type(float)), part)) for part in tree.values())

            def step(optimizer: Any, params: Any, state: Any) -> Any:
                value, grads = jax.value_and_grad(whole)(params)  # noqa: B023
                updates, state = optimizer.update(grads, state, params, value=value, objective=whole)  # noqa: B023
                return updates, state

            state = jax.eval_shape(case.ours.init, params)
            swept = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), case.ours)
            for optimizer in (case.ours, swept):
                updates, new = jax.eval_shape(step, optimizer, params, state)
                forms = [jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree) for tree in (updates, params, new, state)]
                _require(forms[0] == forms[1], f"updates {forms[0]}", f"as the parameters, {forms[1]}")
                _require(forms[2] == forms[3], f"a new state {forms[2]}", f"the form of the first, {forms[3]}")
                weak = [leaf for leaf in jax.tree.leaves(new) if leaf.weak_type]
                _require(not weak, "weakly typed state", "none, or the second step compiles again")
            narrow = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype in (jnp.bfloat16, jnp.float16)]
            _require(not narrow, "state of 16 bits", "float32 at least")


def nothing_moves_without_gradient(case: Case) -> None:
    """A gradient of zeros moves nothing, from the first state and later."""

    def steps(params: Any) -> Any:
        zeros, state = jax.tree.map(jnp.zeros_like, params), case.ours.init(params)
        flat = lambda p: sum(0 * leaf.sum() for leaf in jax.tree.leaves(p)) + 1.0
        out = []
        for _ in range(3):
            updates, state = case.ours.update(zeros, state, params, value=flat(params), objective=flat)
            out += jax.tree.leaves(updates)
        return out

    moved = not all((np.asarray(u) == 0).all() for u in _jit(steps)(start()))
    _require(moved != case.still, "parameters that move" if moved else "parameters that rest", "the contrary, without a gradient")


def state_is_sharded_like_params(case: Case) -> None:
    """On several devices, slots of a parameter's shape have its sharding, and the update is that of one device."""
    if len(jax.devices()) < 2:
        return
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    place = NamedSharding(mesh, PartitionSpec("data"))
    params, alone = jax.device_put(start(), place), start()
    step = _jit(lambda p, s: optim.step(case.ours, jax.grad(loss)(p), s, p, value=loss(p), objective=loss))
    expected, _ = step(alone, case.ours.init(alone))
    moved, state = step(params, case.ours.init(params))
    shapes = {leaf.shape for leaf in jax.tree.leaves(params)}
    placed: Any = jax.tree.structure(params)
    for name, part in state.items() if isinstance(state, dict) else ():
        if jax.tree.structure(part) == placed and all(leaf.shape in shapes for leaf in jax.tree.leaves(part)):
            for leaf in jax.tree.leaves(part):
                _require(leaf.sharding.is_equivalent_to(place, leaf.ndim), f"{name} on {leaf.sharding}", "the parameters' sharding")
    apart = max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(expected)))
    _require(apart <= 1e-12, f"parameters {apart:.1e} from those of one device", "at most 1e-12")


def state_can_be_donated(case: Case) -> None:
    """No two parts of the parameters and the first state share a buffer, which donation refuses."""
    params = start()
    places = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((params, case.ours.init(params)))]
    _require(len(set(places)) == len(places), "a buffer twice in the parameters and the first state", "one for each part", "Use jnp.copy.")


def converges(case: Case) -> None:
    """At the case's rates it comes to the minimum of a quadratic in ten dimensions and of Rosenbrock's function."""
    if case.rates is None:
        return
    quadratic = lambda p: (jnp.logspace(-1, 1, 10).reshape(5, 2) * (p["x"] - 1) ** 2).sum() / 2
    rosenbrock = lambda p: ((1 - p["x"][0, 0]) ** 2 + 100 * (p["x"][0, 1] - p["x"][0, 0] ** 2) ** 2).sum()
    for f, x, rate, steps in (
        (quadratic, jnp.zeros((5, 2)), case.rates[0], 2000),
        (rosenbrock, jnp.asarray([[-1.2, 1.0]]), case.rates[1], 20_000),
    ):
        ours = _at_rate(case.ours, rate)

        def descend(x: Any, optimizer: Any = ours, f: Any = f, steps: int = steps) -> Any:
            def step(carry: Any, _: Any) -> Any:
                params, state = carry
                value, grads = jax.value_and_grad(f)(params)
                return optim.step(optimizer, grads, state, params, value=value, objective=f), None

            params = {"x": x}
            (params, state), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
            return f(optim.evaluation_params(optimizer, state, params))

        first, last = float(f({"x": x})), float(_jit(descend)(x))
        _require(last <= 1e-3 * first, f"a loss of {last:.2e} after {steps} steps at {rate} (from {first:.3g})", "a thousandth at most")


def _at_rate(optimizer: Any, rate: float) -> Any:
    """The optimizer with this learning rate, in a wrapper's inner one, and no decay, which moves the minimum."""
    new = {"lr": rate, "weight_decay": 0.0}
    return jax.tree.map_with_path(lambda at, leaf: new.get(getattr(at[-1], "name", ""), leaf) if at else leaf, optimizer)


LAWS: dict[str, Callable[[Case], None]] = {
    law.__name__: law
    for law in (
        values_are_traced, vmap_is_a_loop, derivatives_are_true, state_is_stable, nothing_moves_without_gradient,
        state_is_sharded_like_params, state_can_be_donated, converges,
    )
}  # fmt: skip


def check(law: str, case: Case) -> None:
    """One law of `LAWS`, as `check_optimizer` runs all of them."""
    where = f"{case.name}, law {law!r}"
    with jax.enable_x64(True):
        try:
            LAWS[law](case)
        except FdlError as error:
            found = error.found if error.where == "law" else f"{error.where}: {error.found}"
            raise FdlError(where, found, error.expected, error.fix) from error
        except Exception as error:
            fix = f"The law: {(LAWS[law].__doc__ or '').splitlines()[0]}"
            raise FdlError(where, f"{type(error).__name__}: {error}", "a call that works", fix) from error


def check_optimizer(optimizer: optim.Optimizer, *, skip: Collection[str] = (), **limits: Any) -> None:
    """Runs every law on an optimizer of yours, and returns if it keeps them all; it takes seconds.

    The laws, by name: `values_are_traced`, `vmap_is_a_loop`, `derivatives_are_true`, `state_is_stable`,
    `nothing_moves_without_gradient`, `state_is_sharded_like_params`, `state_can_be_donated`, `converges`; each function here
    says what it holds. They run in float64, whatever the setting.

    Args:
        optimizer: a pytree with `init` and `update`, as `optim.Leafwise` and `optim.Treewise` make them.
        skip: names of laws that shall not hold.
        limits: what it is by design: `smooth`, `idle`, `still`, `rates`, as the fields of `Case` say.

    Raises:
        FdlError: for the first law that is broken.
    """
    unknown = set(skip) - LAWS.keys()
    if unknown:
        raise FdlError("check_optimizer(skip)", ", ".join(sorted(unknown)), f"names of laws: {', '.join(LAWS)}")
    case = Case(type(optimizer).__name__, optimizer, **limits)
    for law in LAWS:
        if law not in skip:
            check(law, case)
