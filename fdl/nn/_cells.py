"""Recurrent cells: one step of a recurrence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import ops
from fdl.core import FdlError, Layer, Scope
from fdl.ops._recurrence import remember, sigmoid, tanh

Product = Callable[[str, jax.Array], jax.Array]


@dataclass(frozen=True)
class Cell(Layer):
    """One step of a recurrence: `forward(scope, carry, x) -> (carry, output)`. Base of the cells here and of your own.

    Args:
        features: size of the hidden state and of the output.
        kernel_init: initializer of the input weights; default Glorot uniform.
        recurrent_init: initializer of the recurrent weights; default orthogonal, which keeps the norm of what flows
            back through time (Saxe et al. 2014).

    Shapes: `x` `[batch, inputs]`, carry and output `[batch, features]`.
    """

    features: int
    kernel_init: Callable[..., jax.Array] = initializers.glorot_uniform()
    recurrent_init: Callable[..., jax.Array] = initializers.orthogonal()

    def start(self, batch: int, dtype: Any) -> Any:
        """The carry before the first step: zeros `[batch, features]`."""
        return jnp.zeros((batch, self.features), dtype)

    def along(
        self, params: Any, step: Callable[..., Any], carry: Any, x: jax.Array, valid: jax.Array | None, reverse: bool, unroll: int
    ) -> tuple[Any, jax.Array]:
        """The cell along time, as `ops.recur`; `step(params, carry, x)` is `forward`. A faster way to the same goes here."""
        return ops.recur(lambda carry, x_t: step(params, carry, x_t), carry, x, valid, reverse=reverse, unroll=unroll)


@dataclass(frozen=True)
class Gated(Cell):
    """Cells that add weighted inputs `x W + b` to weighted states; for all time steps the former are one product."""

    gates: ClassVar[int]

    def forward(self, scope: Scope, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        params = self.params(scope, x)
        weights = self.weights(params)
        return self.step(params, lambda name, v: v @ weights[name], carry, self.project(params, x))

    def along(
        self,
        params: Any,
        step: Callable[..., Any],
        carry: Any,
        x: jax.Array,
        valid: jax.Array | None,
        reverse: bool,
        unroll: int,
        mask: jax.Array | None = None,
    ) -> tuple[Any, jax.Array]:
        """As of any cell; `mask` `[batch, features]` is what states are multiplied with before the recurrent weights see them."""
        if type(self).forward is not Gated.forward:  # a user's own step
            return super().along(params, step, carry, x, valid, reverse, unroll)
        others = {name: params[name] for name in params if name not in ("kernel", "recurrent", "bias")}
        weighted = ops.WeightedStep(self.step, partial(self.project, params), self.weights(params), others, mask)
        return ops.recur(weighted, carry, x, valid, reverse=reverse, unroll=unroll)

    def params(self, scope: Scope, x: jax.Array) -> dict[str, jax.Array]:
        """`kernel` `[inputs, gates x features]`, `recurrent` `[features, gates x features]`, `bias` `[gates x features]`.

        The gates stand side by side; each is initialised by itself.
        """

        def by_gate(initializer: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
            def make(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
                return jnp.concatenate([initializer(k, (shape[0], self.features), dtype) for k in jax.random.split(key, self.gates)], -1)

            return make

        width = self.gates * self.features
        return {
            "kernel": scope.param("kernel", by_gate(self.kernel_init), (x.shape[-1], width), x.dtype),
            "recurrent": scope.param("recurrent", by_gate(self.recurrent_init), (self.features, width), x.dtype),
            "bias": scope.param("bias", self.bias_init, (width,), x.dtype),
        }

    def bias_init(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jnp.zeros(shape, dtype)

    def project(self, params: Any, x: jax.Array) -> Any:
        """`x W + b`; a column of ones makes the bias and its gradient part of the products."""
        one = jnp.ones((*x.shape[:-1], 1), x.dtype)
        return ops.matmul(jnp.concatenate([x, one], -1), jnp.concatenate([params["kernel"], params["bias"][None]]))

    def weights(self, params: Any) -> dict[str, jax.Array]:
        """The matrices that states are multiplied with, each once a step."""
        return {"recurrent": params["recurrent"]}

    def step(self, params: Any, product: Product, carry: Any, z: Any) -> tuple[Any, jax.Array]:
        """Carry and output, from the carry and the projected input; `product(name, v)` is `v @ weights[name]`."""
        raise NotImplementedError


@dataclass(frozen=True)
class RNN(Gated):
    """`h' = tanh(x W + h U + b)` (Elman 1990, "Finding structure in time"); outputs `h'`."""

    gates = 1

    def step(self, params: Any, product: Product, carry: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = tanh(z + product("recurrent", carry))
        return h, h


@dataclass(frozen=True)
class LSTM(Gated):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    `i, f, g, o = split(x W + h U + b)`, `c' = sigmoid(f) c + sigmoid(i) tanh(g)`, `h' = sigmoid(o) tanh(c')`; outputs
    `h'`. The carry is `(h, c)`. The forget gate's bias starts at 1 (Jozefowicz et al. 2015), the others at 0.

    Args:
        peephole: whether the gates see the cell state: `p_i c` is added to `i`, `p_f c` to `f` and `p_o c'` to `o`
            (Gers & Schmidhuber 2000, "Recurrent nets that time and count"). The parameter `peephole` `[3, features]`
            holds `p_i, p_f, p_o` and starts at 0.
        layer_norm: whether to normalise, as `LN(h U) + LN(x W) + b` and `h' = sigmoid(o) tanh(LN(c') + b_c)` (Ba et al. 2016,
            "Layer normalization", equations 20 to 22). `LN` goes over all gates at once, has a scale of its own at each
            of its places (parameters `recurrent_scale`, `kernel_scale` and `cell_scale`, starting at 1; `b_c` is
            `cell_bias`), 1e-5 added to the variance, and statistics in float32 at least.
    """

    peephole: bool = False
    layer_norm: bool = False
    gates = 4

    def start(self, batch: int, dtype: Any) -> Any:
        return super().start(batch, dtype), super().start(batch, dtype)

    def bias_init(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jnp.repeat(jnp.array([0, 1, 0, 0], dtype), self.features, total_repeat_length=shape[0])

    def params(self, scope: Scope, x: jax.Array) -> dict[str, jax.Array]:
        params, n = super().params(scope, x), self.features
        if self.peephole:
            params["peephole"] = scope.param("peephole", initializers.zeros, (3, n), x.dtype)
        if self.layer_norm:
            for name, size in {"kernel_scale": 4 * n, "recurrent_scale": 4 * n, "cell_scale": n}.items():
                params[name] = scope.param(name, initializers.ones, (size,), x.dtype)
            params["cell_bias"] = scope.param("cell_bias", initializers.zeros, (n,), x.dtype)
        return params

    def project(self, params: Any, x: jax.Array) -> jax.Array:
        if not self.layer_norm:
            return super().project(params, x)
        return _normed(ops.matmul(x, params["kernel"]), params["kernel_scale"], params["bias"])

    def step(self, params: Any, product: Product, carry: Any, z: jax.Array) -> tuple[Any, jax.Array]:
        h, c = carry
        m = product("recurrent", h)
        i, f, g, o = jnp.split(z + (_normed(m, params["recurrent_scale"]) if self.layer_norm else m), 4, -1)
        if self.peephole:
            p_i, p_f, p_o = params["peephole"][:, None]
            i, f = i + p_i * c, f + p_f * c
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        if self.peephole:
            o = o + p_o * c
        h = sigmoid(o) * tanh(_normed(c, params["cell_scale"], params["cell_bias"]) if self.layer_norm else c)
        return (h, c), h


def at_least_float32(dtype: Any) -> Any:
    return jnp.float64 if dtype == jnp.float64 else jnp.float32


def _normed(x: jax.Array, scale: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    row = lambda a: a.reshape((1,) * (x.ndim - 1) + a.shape)
    wide = x.astype(at_least_float32(x.dtype))
    wide = wide - wide.mean(-1, keepdims=True)
    y = (wide * jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + 1e-5)).astype(x.dtype) * row(scale)
    return y if bias is None else y + row(bias)


@dataclass(frozen=True)
class GRU(Gated):
    """Gated recurrent unit (Cho et al. 2014, "Learning phrase representations"); outputs `h'`.

    `r, z = sigmoid(x W_rz + h U_rz + b_rz)`, `h' = (1 - z) n + z h`, and, by where the reset gate stands,
    `n = tanh(x W_n + b_n + r (h U_n + b_u))` or `n = tanh(x W_n + b_n + (r h) U_n)`. Weights stand in the order r, z, n.

    Args:
        reset: `"after"` the product, as in cuDNN, PyTorch and Keras, with `b_u` `[features]`, the parameter
            `recurrent_bias`; or `"before"` it, as in the paper, which takes two products one after the other.
    """

    reset: Literal["after", "before"] = "after"
    gates = 3

    def __post_init__(self) -> None:
        if self.reset not in ("after", "before"):
            raise FdlError("GRU(reset)", repr(self.reset), "'after' or 'before'")

    def params(self, scope: Scope, x: jax.Array) -> dict[str, jax.Array]:
        params = super().params(scope, x)
        if self.reset == "after":
            params["recurrent_bias"] = scope.param("recurrent_bias", initializers.zeros, (self.features,), x.dtype)
        return params

    def weights(self, params: Any) -> dict[str, jax.Array]:
        return super().weights(params) if self.reset == "after" else _parts(params["recurrent"], self.features)

    def step(self, params: Any, product: Product, carry: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        x_r, x_z, x_n = jnp.split(z, 3, -1)
        if self.reset == "after":
            h_r, h_z, h_n = jnp.split(product("recurrent", carry), 3, -1)
            n = tanh(x_n + sigmoid(x_r + h_r) * remember(h_n + params["recurrent_bias"][None]))
        else:
            h_r, h_z = jnp.split(product("gates", carry), 2, -1)
            n = tanh(x_n + product("candidate", sigmoid(x_r + h_r) * carry))
        keep = sigmoid(x_z + h_z)
        h = n + keep * (carry - n)
        return h, h


@dataclass(frozen=True)
class MGU(Gated):
    """Minimal gated unit, a GRU of one gate (Zhou et al. 2016, "Minimal gated unit for recurrent neural networks", eq. 7).

    `f = sigmoid(x W_f + h U_f + b_f)`, `n = tanh(x W_n + (f h) U_n + b_n)`, `h' = (1 - f) h + f n`; outputs `h'`. Weights
    stand in the order f, n.
    """

    gates = 2

    def weights(self, params: Any) -> dict[str, jax.Array]:
        return _parts(params["recurrent"], self.features)

    def step(self, params: Any, product: Product, carry: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        x_f, x_n = jnp.split(z, 2, -1)
        f = sigmoid(x_f + product("gates", carry))
        h = carry + f * (tanh(x_n + product("candidate", f * carry)) - carry)
        return h, h


def _parts(recurrent: jax.Array, features: int) -> dict[str, jax.Array]:
    """The last gate's matrix apart: it waits for the others."""
    return {"gates": recurrent[:, :-features], "candidate": recurrent[:, -features:]}
