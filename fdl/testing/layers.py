"""Does a layer behave? The laws that every layer of fdl keeps, as functions that say which one is broken, with figures."""

import copy
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fdl.core import FdlError, Layer, Scope, compiler_options

Input = tuple[int, ...] | np.ndarray | jax.Array
_KEY = 3
_LAW = "law"


class Case(NamedTuple):
    """A layer and its inputs: shapes, of floats that are drawn, or arrays."""

    layer: Layer
    inputs: tuple[Input, ...]

    def draw(self, seed: int = 0, dtype: Any = np.float64) -> tuple[Any, ...]:
        """The inputs; floats in this dtype, drawn from a standard normal distribution where a shape is given."""
        rng = np.random.default_rng(seed)
        arrays = [rng.normal(size=a) if isinstance(a, tuple) else np.asarray(a) for a in self.inputs]
        return tuple(
            jnp.asarray(a, dtype if np.issubdtype(a.dtype, np.floating) else jax.dtypes.canonicalize_dtype(a.dtype)) for a in arrays
        )

    def fitted(self, seed: int = 1, dtype: Any = np.float64) -> tuple[Any, Any]:
        """Params and state away from zeros and ones, as after some training."""
        params, state = jax.eval_shape(self.layer.init, jax.random.key(0), *self.draw(0, dtype))
        drawn = lambda a: np.random.default_rng(seed).normal(size=a.shape)
        return (
            jax.tree.map(lambda a: jnp.asarray(drawn(a), a.dtype), params),
            jax.tree.map(lambda a: jnp.asarray(1 + abs(drawn(a)), a.dtype), state),
        )

    def run(self, params: Any, state: Any, inputs: tuple[Any, ...], seed: Any = _KEY) -> tuple[Any, Any]:
        return self.layer.apply(params, state, *inputs, key=jax.random.key(seed), train=True)

    def scalar(self, moving: tuple[Any, list[Any]], state: Any, inputs: tuple[Any, ...], seed: Any = _KEY) -> Any:
        """A smooth function of every output, of the parameters and the floating inputs; with outputs and state beside it."""
        params, floats = moving
        rest = iter(floats)
        inputs = tuple(next(rest) if _floating(a) else a for a in inputs)
        y, new = self.run(params, state, inputs, seed)
        return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(y) if _floating(leaf)), (y, new)


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled for a call or two."""
    return jax.jit(function, compiler_options=compiler_options("once"))


def _floating(a: Any) -> bool:
    return bool(jnp.issubdtype(a.dtype, jnp.floating))


def _moving(params: Any, inputs: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    return params, [a for a in inputs if _floating(a)]


def _distance(got: Any, want: Any) -> float:
    """The largest difference of two trees' floats, relative to the largest value of the leaf; 0 where all are equal, NaN included."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = (np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, np.float64) for x in (a, b))
        if a.shape != b.shape:
            return np.inf
        if not np.array_equal(a, b, equal_nan=True):
            worst = max(worst, float(np.nan_to_num(abs(a - b).max() / (abs(b).max() or 1), nan=np.inf)))
    return worst


def _require(condition: bool, found: str, expected: str, fix: str = "") -> None:
    if not condition:
        raise FdlError(_LAW, found, expected, fix)


def _close(what: str, got: Any, want: Any, tolerance: float, fix: str = "") -> None:
    error = _distance(got, want)
    _require(error <= tolerance, f"{what} {error:.1e} apart", f"at most {tolerance:.0e}, relative to the largest value", fix)


def shapes_suffice(case: Case) -> None:
    """`init` and `apply` take shapes alone, and the new state has the form of the old, so that `scan` can carry it."""
    with jax.enable_x64(False):
        inputs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in case.draw(0, np.float32)]
        params, state = jax.eval_shape(case.layer.init, jax.random.key(0), *inputs)
        for train in (False, True):
            run = partial(case.layer.apply, train=train)
            _, new = jax.eval_shape(run, params, state, *inputs, key=jax.random.key(0))
            _require(new == state, f"a new state {new} (train={train})", f"the form of the old one, {state}")
            steps = lambda p, s, *x: jax.lax.scan(lambda s, _: (run(p, s, *x, key=jax.random.key(0))[1], None), s, None, length=2)  # noqa: B023
            jax.eval_shape(steps, params, state, *inputs)


def dtype_is_kept(case: Case) -> None:
    """In bfloat16, float32 and float64 the weights, floating outputs and gradients have the inputs' dtype."""
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):

        def run(key: Any, *inputs: Any) -> Any:
            params, state = case.layer.init(key, *inputs)
            return params, *jax.grad(case.scalar, has_aux=True)(_moving(params, inputs), state, inputs)

        params, gradients, (y, _) = jax.eval_shape(run, jax.random.key(0), *case.draw(0, dtype))
        for what, tree in (("weights", params), ("outputs", y), ("gradients", gradients)):
            found = {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if _floating(leaf)} - {np.dtype(dtype).name}
            _require(not found, f"{what} in {', '.join(sorted(found))} for inputs in {np.dtype(dtype).name}", "the inputs' dtype")


def jit_is_eager(case: Case) -> None:
    """A compiled call gives what an eager one gives."""
    args = (*case.fitted(), case.draw())
    _close("outputs and state of jit and of an eager call", _jit(case.run)(*args), case.run(*args), 1e-13)  # fdl's own: 3e-16


def nothing_is_changed(case: Case) -> None:
    """`apply` is pure: it changes nothing that it is given, and gives the same again; equal layers are equal and hash alike."""
    params, state = case.fitted()
    inputs = case.draw()
    kept = jax.tree.map(lambda a: a, (params, state))
    first, second = (case.run(params, state, inputs) for _ in range(2))
    paths = [jax.tree.leaves_with_path(trees) for trees in (kept, (params, state))]
    same = [path for path, _ in paths[0]] == [path for path, _ in paths[1]] and all(a is b for (_, a), (_, b) in zip(*paths))
    _require(same, "a change in the params or state that were given", "new trees", "Use scope.set, which replaces an entry of a copy.")
    _close("two calls with one key", second, first, 0, "Draw from scope.key, and from no other.")
    twin = copy.copy(case.layer)
    _require(twin == case.layer and hash(twin) == hash(case.layer), "a copy that differs", "a frozen dataclass of plain values")


def vmap_is_a_loop(case: Case) -> None:
    """Mapped over params, state, inputs and keys, outputs, state and gradients are those of a loop."""
    draws = [(*case.fitted(seed), case.draw(10 + seed)) for seed in range(3)]

    def run(params: Any, state: Any, inputs: Any, seed: Any) -> Any:
        return jax.grad(case.scalar, has_aux=True)(_moving(params, inputs), state, inputs, seed)

    single = _jit(run)
    stack = lambda *leaves: jnp.stack(leaves)
    loop = jax.tree.map(stack, *[single(*drawn, seed) for seed, drawn in enumerate(draws)])
    mapped = _jit(jax.vmap(run))(*jax.tree.map(stack, *draws), jnp.arange(3))
    _close("vmap and a loop", mapped, loop, 1e-12)  # fdl's own: 3e-16


def second_call_traces_nothing(case: Case) -> None:
    """A training step on its own results is not compiled again: no shape, dtype or weak type changes."""
    traces = []

    def step(params: Any, state: Any, inputs: Any) -> Any:
        traces.append(1)
        (gradient, _), (_, state) = jax.grad(case.scalar, has_aux=True)(_moving(params, inputs), state, inputs)
        return jax.tree.map(lambda p, g: p - g, params, gradient), state

    with jax.enable_x64(False):
        compiled, inputs = _jit(step), case.draw(0, np.float32)
        params, state = case.fitted(1, np.float32)
        for _ in range(3):
            params, state = compiled(params, state, inputs)
    _require(len(traces) == 1, f"{len(traces)} traces in three calls", "one")


def evaluation_is_deterministic(case: Case) -> None:
    """With `train=False` the key has no influence, none is needed, and the state stays as it is."""
    params, state = case.fitted()
    inputs = case.draw()
    run = _jit(lambda params, state, inputs, key: case.layer.apply(params, state, *inputs, key=key))
    first = run(params, state, inputs, jax.random.key(0))
    _close("outputs under two keys", run(params, state, inputs, jax.random.key(1)), first, 0, "Draw only where scope.train is true.")
    _close("the state before and after an evaluation", first[1], state, 0, "Call scope.set only where scope.train is true.")
    jax.eval_shape(lambda *a: case.layer.apply(*a[:2], *a[2]), params, state, inputs)


def examples_stand_alone(case: Case) -> None:
    """In evaluation an example's outputs do not depend on the others of the batch, which is the first axis of every input."""
    inputs, (params, state) = case.draw(), case.fitted()
    others = np.zeros(inputs[0].shape[0], int)
    others[0] = len(others) - 1
    run = _jit(lambda params, state, inputs: case.layer.apply(params, state, *inputs)[0])
    alone = run(params, state, tuple(a[others] for a in inputs))
    batch = jax.tree.map(lambda y: y[others], run(params, state, inputs))
    _close("outputs of an example in two batches", alone, batch, 1e-12)


def weights_follow_names(case: Case) -> None:
    """A layer inserted before it, and another `init`, leave every initial weight bit-identical."""

    def within(inserted: bool, scope: Scope, *inputs: Any) -> Any:
        if inserted:
            scope(_Inserted(), inputs[0], name="inserted")
        return scope(case.layer, *inputs, name="layer")

    inputs, key = case.draw(0, np.float32), jax.random.key(_KEY, impl="unsafe_rbg")  # compiled in a fifth of the time
    made = [_jit(_Function(partial(within, inserted)).init)(key, *inputs) for inserted in (False, True)]
    alone, after = (tuple(tree.get("layer", {}) for tree in pair) for pair in made)
    fix = "Draw from the key that the initializer is given, and from no other."
    _close("initial weights with a layer before it", after, alone, 0, fix)


class _Function(Layer):
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def forward(self, scope: Scope, *inputs: Any) -> Any:
        return self.function(scope, *inputs)


class _Inserted(Layer):
    def forward(self, scope: Scope, x: jax.Array) -> jax.Array:
        return scope.param("weight", jax.nn.initializers.normal(), (3,), jnp.float32)


def derivatives_are_true(case: Case) -> None:
    """Gradients are finite; they, forward mode, and Hessian-vector products (forward over reverse, reverse over reverse) equal differences.

    In float64, along one random direction of params and floating inputs, by central differences.
    """
    params, state = case.fitted()
    inputs = case.draw()
    rng = np.random.default_rng(5)
    here = _moving(params, inputs)
    if not jax.tree.leaves(here):
        return
    along = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), here)
    f = lambda moving: case.scalar(moving, state, inputs)[0]
    dot = lambda a, b: sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
    gradient = jax.grad(f)

    def all_of_them(moving: Any, along: Any) -> Any:
        forward = jax.jvp(f, (moving,), (along,))[1]
        value, g = jax.value_and_grad(f)(moving)
        return value, forward, g, jax.jvp(gradient, (moving,), (along,))[1], jax.grad(lambda m: dot(gradient(m), along))(moving)

    compiled = _jit(all_of_them)
    _, forward, g, forward_over_reverse, reverse_over_reverse = compiled(here, along)
    bad = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(g) if not np.isfinite(leaf).all()]
    _require(
        not bad,
        f"gradients that are not finite at {', '.join(bad)}",
        "finite ones",
        "Guard a division or root by jnp.where on its argument.",
    )
    small = 1e-6
    ahead, behind = (compiled(jax.tree.map(lambda a, v, s=s: a + s * v, here, along), along) for s in (small, -small))
    slope = (ahead[0] - behind[0]) / (2 * small)
    curve = jax.tree.map(lambda a, b: (a - b) / (2 * small), ahead[2], behind[2])
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    scale = max(1.0, *(float(abs(leaf).max()) for leaf in jax.tree.leaves(g) if leaf.size))
    for what, got, want in (
        ("the gradient and differences", dot(g, along), slope), ("forward mode and differences", forward, slope),
    ):  # fmt: skip
        _require(
            abs(float(got) - float(want)) <= 1e-7 * scale * np.sqrt(flat(here).size),
            f"{what} along a direction {float(got):.9g} and {float(want):.9g}", "equal numbers",
        )  # fmt: skip
    tolerance = 1e-6  # fdl's own: 4e-10
    _close("Hessian-vector products, forward over reverse, and differences", flat(forward_over_reverse), flat(curve), tolerance)
    _close("Hessian-vector products, reverse over reverse, and differences", flat(reverse_over_reverse), flat(curve), tolerance)


LAWS: dict[str, Callable[[Case], None]] = {
    law.__name__: law
    for law in (
        shapes_suffice, dtype_is_kept, jit_is_eager, nothing_is_changed, vmap_is_a_loop, second_call_traces_nothing,
        evaluation_is_deterministic, examples_stand_alone, weights_follow_names, derivatives_are_true,
    )
}  # fmt: skip


def check(law: str, layer: Layer, *inputs: Input) -> None:
    """One law of `LAWS`, as `check_layer` runs all of them."""
    where = f"{type(layer).__name__}, law {law!r}"
    with jax.enable_x64(True):
        try:
            LAWS[law](Case(layer, inputs))
        except FdlError as error:
            found = error.found if error.where == _LAW else f"{error.where}: {error.found}"
            raise FdlError(where, found, error.expected, error.fix) from error
        except Exception as error:
            fix = f"The law: {(LAWS[law].__doc__ or '').splitlines()[0]}"
            raise FdlError(where, f"{type(error).__name__}: {error}", "a call that works", fix) from error


def check_layer(layer: Layer, *inputs: Input, skip: Collection[str] = ()) -> None:
    """Runs every law on a layer of yours, and returns if it keeps them all; it takes seconds.

    The laws, by name: `shapes_suffice`, `dtype_is_kept`, `jit_is_eager`, `nothing_is_changed`, `vmap_is_a_loop`,
    `second_call_traces_nothing`, `evaluation_is_deterministic`, `examples_stand_alone`, `weights_follow_names`,
    `derivatives_are_true`; each function here says what it holds. They run in float64, whatever the setting.

    Args:
        layer: any layer.
        inputs: for each input of its `forward` a shape, such as `(2, 5, 3)`, of floats to be drawn, or an array (lengths,
            labels, a mask). The first axis of each is the batch. Small ones suffice.
        skip: names of laws that shall not hold.

    Raises:
        FdlError: for the first law that is broken: which, and by how much.
    """
    unknown = set(skip) - LAWS.keys()
    if unknown:
        raise FdlError("check_layer(skip)", ", ".join(sorted(unknown)), f"names of laws: {', '.join(LAWS)}")
    for law in LAWS:
        if law not in skip:
            check(law, layer, *inputs)
