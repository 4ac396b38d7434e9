"""What happens inside a model: outputs of its layers, and the gradients with respect to them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fdl.core import Call, Layer, Scope, located, matching

Patterns = str | Sequence[str]


def tap(
    model: Layer,
    params: Any,
    state: Any,
    *inputs: Any,
    at: Patterns | None = None,
    key: jax.Array | None = None,
    train: bool = False,
    **options: Any,
) -> tuple[Any, Any, dict[str, Any]]:
    """`model.apply`, with the outputs of the layers and functions inside whose paths fit: `y, state, taps = nn.tap(...)`.

    Args:
        model: any layer; `params`, `state`, `inputs`, `key`, `train` and `options` are what its `apply` takes.
        at: shell patterns of paths, as `fdl.core.select` takes them: `"relu*"`, `"/residual_0/body"`. Default every call.

    Returns:
        Outputs, new state, and the tapped outputs by path (`/residual_0/body/relu_0`); where one layer is called again
        under its name, by `path#1`, `path#2`, ... What a layer calls inside a loop, such as a recurrent cell, has no
        place of its own; tap the layer that loops.

    Raises:
        FdlError: for a pattern that fits no path, with the nearest paths.
    """
    return _tapped(model, params, state, inputs, options, at, key, train, {})


def tap_gradients(
    loss: Callable[..., jax.Array],
    model: Layer,
    params: Any,
    state: Any,
    *inputs: Any,
    at: Patterns | None = None,
    key: jax.Array | None = None,
    train: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """The gradients of a loss with respect to the outputs of layers inside the model.

    By layer, their norms tell where gradients vanish or explode: `jax.tree.map(jnp.linalg.norm, gradients)`. By time step
    too: what arrives at the outputs `[batch, time, features]` of the layer before a recurrent one has come back through
    time, and `jnp.linalg.norm(gradient, axis=(0, 2))` is its norm at each step.

    Args:
        loss: a function of the model's outputs.
        model: and the other arguments, as `tap` takes them.

    Returns:
        By path, as `tap` has it, gradients in the shapes of the outputs; outputs that are not floats have none.

    Raises:
        FdlError: for a pattern that fits no path, with the nearest paths.
    """
    run = lambda added: _tapped(model, params, state, inputs, options, at, key, train, added)
    shapes = jax.eval_shape(lambda: run({})[2])
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if floating(leaf) else None, shapes)
    return jax.grad(lambda added: loss(run(added)[0]))(zeros)


def _tapped(
    model: Layer,
    params: Any,
    state: Any,
    inputs: Any,
    options: Any,
    at: Patterns | None,
    key: jax.Array | None,
    train: bool,
    added: dict[str, Any],
) -> tuple[Any, Any, dict[str, Any]]:
    """As `tap`; `added` is added to the outputs of these paths."""
    seen: dict[str, Any] = {}
    calls: dict[str, int] = {}

    def watch(call: Call) -> Any:
        count = calls[call.path] = calls.get(call.path, -1) + 1
        path = f"{call.path}#{count}" if count else call.path
        more = added.get(path)
        seen[path] = call.outputs if more is None else _plus(call.outputs, more)
        return seen[path]

    scope = Scope(params, dict(state), key, train, watch=watch)
    outputs = located("/", model.forward, (scope, *inputs), options)
    chosen = set(seen) if at is None else matching(list(seen), at, "at")
    return outputs, scope.state, {path: output for path, output in seen.items() if path in chosen}


def _plus(tree: Any, more: Any) -> Any:
    return jax.tree.map(lambda a, b: a if b is None else a + b, tree, more, is_leaf=lambda leaf: leaf is None)
