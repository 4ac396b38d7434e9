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
    """One call of a layer, or of a plain function, as a scope's `watch` sees it when it ends."""

    path: str
    layer: Any
    params: Tree
    state: Tree
    inputs: tuple[Any, ...]
    options: Tree
    outputs: Any


class Initialisation(NamedTuple):
    """What a traced forward pass asked for, by path: functions of the key of the layer that asked."""

    params: dict[tuple[str, ...], Callable[[jax.Array], jax.Array]]
    state: dict[tuple[str, ...], Callable[[jax.Array], jax.Array]]


@dataclass
class Scope:
    """What a layer sees of the world during one pure call: its own part of the trees, its key, its mode.

    Attributes:
        params: this layer's parameters, by name.
        state: this layer's state, by name; `set` replaces an entry.
        key: this layer's random key, or `None` where the caller gave none.
        train: whether dropout drops, batch statistics are used, and so on.
        path: where the layer stands, such as `/residual_0/body/dense_0`.
        watch: sees every call inside when it ends, and says what its outputs are (`nn.tap` stands on it).
    """

    params: Tree
    state: Tree
    key: jax.Array | None = None
    train: bool = False
    path: str = ""
    initialising: Initialisation | None = None
    watch: Callable[[Call], Any] | None = None
    names: Counter[str] = field(default_factory=Counter)
    children: dict[str, Any] = field(default_factory=dict)

    def param(
        self, name: str, initializer: Callable[..., jax.Array], shape: tuple[int, ...], dtype: Any, of: str | None = None
    ) -> jax.Array:
        """The parameter `name`; while initialising, `initializer(key, shape, dtype)` will make it.

        Args:
            of: another parameter of this layer: the initializer then gets its initial value in the place of a key.
        """
        return self._leaf(self.params, "params", name, initializer, shape, dtype, of)

    def variable(self, name: str, initializer: Callable[..., jax.Array], shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """The state entry `name`, which no gradient moves; made like a parameter."""
        return self._leaf(self.state, "state", name, initializer, shape, dtype)

    def set(self, name: str, value: jax.Array) -> None:
        """Replaces a state entry, in the dtype it had."""
        self.state[name] = jax.lax.stop_gradient(value).astype(self.state[name].dtype)

    def _leaf(
        self,
        tree: Tree,
        kind: str,
        name: str,
        initializer: Callable[..., jax.Array],
        shape: tuple[int, ...],
        dtype: Any,
        of: str | None = None,
    ) -> jax.Array:
        where = f"{kind} {self.path}/{name}"
        dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32
        if "/" in name or isinstance(tree.get(name), dict):
            raise FdlError(where, "a '/' in the name" if "/" in name else "a layer of this name", "a name of its own, without a '/'")
        if self.initialising is not None and name not in tree:
            made, parents = getattr(self.initialising, kind), tuple(self.path.split("/")[1:])
            wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32  # some initializers take no less
            source = lambda key: fold(key, name) if of is None else made[(*parents, of)](key).astype(wide)
            made[(*parents, name)] = lambda key: initializer(source(key), shape, wide).astype(dtype)
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
            layer: a `Layer`, or a function of the inputs, which has no parameters.
            inputs: what its `forward` takes; `options` go to it by keyword.
            name: the child's name; else its kind and a count, as in `max_pool_0`. The same layer under the same name
                shares its parameters.
        """
        if not isinstance(layer, Layer):
            kind = getattr(layer, "__name__", "function")
            path = f"{self.path}/{kind}_{self.names[f'{kind}()']}"
            self.names[f"{kind}()"] += 1
            return self._seen(Call(path, layer, {}, {}, inputs, options, located(path, layer, inputs, options)))
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
            f"{self.path}/{name}", self.initialising, self.watch,
        )  # fmt: skip
        with jax.named_scope(name):
            outputs = located(child.path, layer.forward, (child, *inputs), options)
        if child.state:
            self.state[name] = child.state
        if self.initialising is not None and not child.params:
            del self.params[name]
        return self._seen(Call(child.path, layer, child.params, child.state, inputs, options, outputs))

    def _seen(self, call: Call) -> Any:
        return call.outputs if self.watch is None else self.watch(call)

    def _counted(self, layer: "Layer") -> str:
        while isinstance(layer, Wrapper):
            layer = layer.layer
        kind = snake(type(layer).__name__)
        while f"{kind}_{self.names[kind]}" in self.children:  # a name given by hand: counting shares with nobody
            self.names[kind] += 1
        self.names[kind] += 1
        return f"{kind}_{self.names[kind] - 1}"

    def through(
        self,
        layer: "Layer",
        *inputs: Any,
        change: Callable[[Tree], Tree] = lambda params: params,
        transform: Callable[..., Any] = lambda function: function,
        **options: Any,
    ) -> Any:
        """Runs `layer` in this very scope, as if it stood here itself: what a `Wrapper` calls.

        Args:
            layer: what is wrapped; `inputs` and `options` go to its `forward`.
            change: the parameters that it sees, from those that there are. It may ask for more of them, and for state.
            transform: such as `jax.checkpoint`: gets and returns a pure function
                `(params, state, key, *inputs) -> (outputs, state)`. Left out while initialising or under a `watch`.
        """
        if self.initialising is not None:
            outputs = layer.forward(self, *inputs, **options)
            change(self.params)
            return outputs

        def function(params: Tree, state: Tree, key: jax.Array | None, *inputs: Any) -> tuple[Any, Tree]:
            inner = Scope(params, dict(state), key, self.train, self.path, watch=self.watch)
            return layer.forward(inner, *inputs, **options), inner.state

        params = change(self.params)
        outputs, state = (transform(function) if self.watch is None else function)(params, self.state, self.key, *inputs)
        self.state.update(state)
        return outputs

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
        return _build(key, asked.params), _build(key, asked.state)

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

    def trace(self, *inputs: Any, watch: Callable[[Call], Any] | None = None) -> Initialisation:
        """What `init` would make, found by abstract evaluation; `watch` sees every call, as a scope's does."""
        asked = Initialisation({}, {})

        def forward(key: jax.Array, *inputs: Any) -> Any:
            return located("/", self.forward, (Scope({}, {}, key, True, "", asked, watch), *inputs), {})

        jax.eval_shape(forward, jax.eval_shape(lambda: jax.random.key(0)), *inputs)
        return asked


@dataclass(frozen=True)
class Wrapper(Layer):
    """A layer in the place of another: it takes its name, its parameters and, for the same key, its initial weights.

    Base of `nn.Remat`, `nn.Precision`, `nn.SpectralNorm`, `nn.WeightNorm` and of your own, whose `forward` calls
    `scope.through(self.layer, ...)`.

    Args:
        layer: what is wrapped.
    """

    layer: Layer

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise FdlError(f"{type(self).__name__}(layer)", repr(self.layer), "a layer")


def snake(name: str) -> str:
    """`MaxPool` -> `max_pool`, `LSTM` -> `lstm`, `RMSNorm` -> `rms_norm`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def located(path: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Calls `function`; what JAX says of shapes that do not fit is told with the innermost layer's path."""
    try:
        return function(*args, **options)
    except (TypeError, ValueError) as error:
        shapes = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(args) if hasattr(leaf, "shape")]
        raise FdlError(f"layer {path}", "inputs " + ", ".join(shapes), f"inputs that it can take ({error})") from error


def _build(key: jax.Array, asked: dict[tuple[str, ...], Callable[[jax.Array], jax.Array]]) -> Tree:
    tree: Tree = {}
    for path, make in asked.items():
        node, layer_key = tree, key
        for name in path[:-1]:
            node, layer_key = node.setdefault(name, {}), fold(layer_key, name)
        node[path[-1]] = make(layer_key)
    return tree
