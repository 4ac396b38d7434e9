"""A layer's forward pass is written once; `init` and `apply` follow from it."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fdl.core._errors import FdlError
from fdl.core._keys import fold

Tree = dict[str, Any]


class Call(NamedTuple):
    """One call of a layer while a model is traced; arrays are `jax.ShapeDtypeStruct` objects."""

    path: str
    layer: Any
    params: Tree
    state: Tree
    inputs: tuple[Any, ...]
    options: Tree
    outputs: Any


class Initialisation(NamedTuple):
    """What a traced forward pass asked for: initializers by path, and every call of a layer in order."""

    params: dict[tuple[str, ...], Callable[..., jax.Array]]
    state: dict[tuple[str, ...], Callable[..., jax.Array]]
    calls: list[Call]


@dataclass
class Scope:
    """What a layer sees of the world during one pure call: its own part of the trees, its key, its mode.

    Attributes:
        params: this layer's parameters, by name.
        state: this layer's state, by name; `set` replaces an entry.
        key: this layer's random key, or `None` where the caller gave none.
        train: whether dropout drops, batch statistics are used, and so on.
        path: where the layer stands, such as `/residual_0/body/dense_0`.
    """

    params: Tree
    state: Tree
    key: jax.Array | None = None
    train: bool = False
    path: str = ""
    initialising: Initialisation | None = None
    names: Counter[str] = field(default_factory=Counter)
    children: dict[str, Any] = field(default_factory=dict)

    def param(self, name: str, initializer: Callable[..., jax.Array], shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """The parameter `name`; while initialising, `initializer(key, shape, dtype)` will make it."""
        return self._leaf(self.params, "params", name, initializer, shape, dtype)

    def variable(self, name: str, initializer: Callable[..., jax.Array], shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """The state entry `name`, which no gradient moves; made like a parameter."""
        return self._leaf(self.state, "state", name, initializer, shape, dtype)

    def set(self, name: str, value: jax.Array) -> None:
        """Replaces a state entry, in the dtype it had."""
        self.state[name] = jax.lax.stop_gradient(value).astype(self.state[name].dtype)

    def _leaf(
        self, tree: Tree, kind: str, name: str, initializer: Callable[..., jax.Array], shape: tuple[int, ...], dtype: Any
    ) -> jax.Array:
        where = f"{kind} {self.path}/{name}"
        dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32
        if "/" in name or isinstance(tree.get(name), dict):
            raise FdlError(where, "a '/' in the name" if "/" in name else "a layer of this name", "a name of its own, without a '/'")
        if self.initialising is not None and name not in tree:
            path = (*self.path.split("/")[1:], name)
            wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32  # some initializers take no less
            getattr(self.initialising, kind)[path] = lambda key: initializer(key, shape, wide).astype(dtype)
            tree[name] = jnp.zeros(shape, dtype)  # abstract: `init` traces
        if name not in tree:
            fix = "Are these the params and state that this model's init returned?"
            raise FdlError(where, f"only {sorted(tree)}", f"an array of shape {shape}", fix)
        if tree[name].shape != shape:
            fix = "Does the input have the size that the model was initialised with?"
            raise FdlError(where, f"shape {tree[name].shape}", f"shape {shape} for this input", fix)
        return tree[name]

    def __call__(self, layer: Any, *inputs: Any, name: str | None = None, **options: Any) -> Any:
        """Runs a child layer, or a plain function, on its own part of the trees.

        Args:
            layer: a `Layer`, or a function of the inputs, which has neither parameters nor a name.
            inputs: what its `forward` takes; `options` go to it by keyword.
            name: the child's name; else its kind and a count, as in `max_pool_0`. The same layer under the same name
                shares its parameters.
        """
        if not isinstance(layer, Layer):
            return located(f"{self.path}/{getattr(layer, '__name__', 'function')}", layer, inputs, options)
        name = self._counted(layer) if name is None else name
        if "/" in name:
            raise FdlError(f"layer {self.path}/{name}", "a '/' in the name", "a name without it: it parts the names of a path")
        owned = all(isinstance(tree.get(name, {}), dict) for tree in (self.params, self.state))
        if self.children.setdefault(name, layer) != layer or not owned:
            raise FdlError(f"layer {self.path}/{name}", "a second owner of this name", "a name of its own for each layer")
        if self.initialising is not None:
            self.params.setdefault(name, {})
        child = Scope(
            self.params.get(name, {}), dict(self.state.get(name, {})), fold(self.key, name), self.train,
            f"{self.path}/{name}", self.initialising,
        )  # fmt: skip
        with jax.named_scope(name):
            outputs = located(child.path, layer.forward, (child, *inputs), options)
        if child.state:
            self.state[name] = child.state
        if self.initialising is not None:
            record = (child.params, child.state, inputs, options, outputs)
            self.initialising.calls.append(Call(child.path, layer, *jax.tree.map(abstract, record)))
            if not child.params:
                del self.params[name]
        return outputs

    def _counted(self, layer: "Layer") -> str:
        kind = snake(type(layer).__name__)
        while f"{kind}_{self.names[kind]}" in self.children:  # a name given by hand: counting shares with nobody
            self.names[kind] += 1
        self.names[kind] += 1
        return f"{kind}_{self.names[kind] - 1}"

    def lift(self, layer: "Layer", *example: Any, name: str) -> tuple[Tree, Callable[..., Any]]:
        """A child as `(params, function)`, for use inside `scan`, `cond`, `vmap` or `remat`, where no scope may be touched.

        The child's parameters are asked for here, outside the loop. It may have no state: what it would write in a loop
        could not leave it.

        Args:
            layer: the child; `example` are arrays of the shapes and dtypes of one call.
            name: the child's name.

        Returns:
            The child's parameters, and a pure `function(params, *inputs)`.
        """
        if self.initialising is not None:
            self(layer, *example, name=name)
        if self.state.get(name):
            raise FdlError(
                f"layer {self.path}/{name}", "a layer with state inside a loop", "a layer without state", "Use another normalisation there."
            )
        path = f"{self.path}/{name}"

        def function(params: Tree, *inputs: Any) -> Any:
            return located(path, layer.forward, (Scope(params, {}, None, self.train, path), *inputs), {})

        return self.params.get(name, {}), function


class Layer:
    """Configuration of a pure function: subclass it as a frozen dataclass that holds no arrays, and write `forward`."""

    def forward(self, scope: Scope, *inputs: Any, **options: Any) -> Any:
        """The layer's outputs; parameters, state, key and mode come from `scope`."""
        raise NotImplementedError

    def init(self, key: jax.Array, *inputs: Any) -> tuple[Tree, Tree]:
        """Parameters and state for inputs of these shapes; nothing of the forward pass is computed.

        Args:
            key: a `jax.random.key`; each array gets it folded with its path.
            inputs: arrays or `jax.ShapeDtypeStruct` objects.

        Returns:
            `params` and `state`, nested dictionaries of arrays.
        """
        asked = self.trace(*inputs)
        return tuple(_build(key, asked._asdict()[kind]) for kind in ("params", "state"))  # type: ignore[return-value]

    def apply(
        self, params: Tree, state: Tree, *inputs: Any, key: jax.Array | None = None, train: bool = False, **options: Any
    ) -> tuple[Any, Tree]:
        """The outputs and the new state, a pure function of all that is given.

        Args:
            params: as from `init`; so is `state`.
            inputs: what `forward` takes; `options` go to it by keyword.
            key: a `jax.random.key`, needed where a layer draws random numbers, as dropout does while training.
            train: the mode of dropout, batch normalisation and their like.
        """
        scope = Scope(params, dict(state), key, train)
        return located("/", self.forward, (scope, *inputs), options), scope.state

    def trace(self, *inputs: Any) -> Initialisation:
        """What `init` would make and which layers would be called, found by abstract evaluation."""
        asked = Initialisation({}, {}, [])

        def forward(key: jax.Array, *inputs: Any) -> Any:
            return located("/", self.forward, (Scope({}, {}, key, True, "", asked), *inputs), {})

        jax.eval_shape(forward, jax.eval_shape(lambda: jax.random.key(0)), *inputs)
        return asked


def snake(name: str) -> str:
    """`MaxPool` -> `max_pool`, `LSTM` -> `lstm`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def abstract(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf


def located(path: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Calls `function`; what JAX says of shapes that do not fit is told with the innermost layer's path."""
    try:
        return function(*args, **options)
    except (TypeError, ValueError) as error:
        shapes = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(args) if hasattr(leaf, "shape")]
        raise FdlError(f"layer {path}", "inputs " + ", ".join(shapes), f"inputs that it can take ({error})") from error


def _build(key: jax.Array, initializers: dict[tuple[str, ...], Callable[..., jax.Array]]) -> Tree:
    tree: Tree = {}
    for path, initializer in initializers.items():
        node, leaf_key = tree, key
        for name in path[:-1]:
            node, leaf_key = node.setdefault(name, {}), fold(leaf_key, name)
        node[path[-1]] = initializer(fold(leaf_key, path[-1]))
    return tree
