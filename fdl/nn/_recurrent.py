"""Recurrent cells, and the one driver that runs any of them along time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.nn import initializers

from fdl import ops
from fdl.core import FdlError, Layer, Scope


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

    def weights(self, scope: Scope, x: jax.Array, gates: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`kernel` `[inputs, gates x features]`, `recurrent` `[features, gates x features]`, `bias` `[gates x features]`.

        The gates stand side by side; each is initialised by itself.
        """

        def by_gate(initializer: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
            def make(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
                return jnp.concatenate([initializer(k, (shape[0], self.features), dtype) for k in jax.random.split(key, gates)], -1)

            return make

        width = gates * self.features
        kernel = scope.param("kernel", by_gate(self.kernel_init), (x.shape[-1], width), x.dtype)
        recurrent = scope.param("recurrent", by_gate(self.recurrent_init), (self.features, width), x.dtype)
        return kernel, recurrent, scope.param("bias", self.bias_init, (width,), x.dtype)

    def bias_init(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jnp.zeros(shape, dtype)


@dataclass(frozen=True)
class RNN(Cell):
    """`h' = tanh(x W + h U + b)` (Elman 1990, "Finding structure in time"); outputs `h'`."""

    def forward(self, scope: Scope, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel, recurrent, bias = self.weights(scope, x, 1)
        h = jnp.tanh(x @ kernel + carry @ recurrent + bias[None])
        return h, h


@dataclass(frozen=True)
class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    `i, f, g, o = split(x W + h U + b)`, `c' = sigmoid(f) c + sigmoid(i) tanh(g)`, `h' = sigmoid(o) tanh(c')`; outputs
    `h'`. The carry is `(h, c)`. The forget gate's bias starts at 1 (Jozefowicz et al. 2015), the others at 0.
    """

    def start(self, batch: int, dtype: Any) -> Any:
        return super().start(batch, dtype), super().start(batch, dtype)

    def bias_init(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jnp.repeat(jnp.array([0, 1, 0, 0], dtype), self.features, total_repeat_length=shape[0])

    def forward(self, scope: Scope, carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        kernel, recurrent, bias = self.weights(scope, x, 4)
        h, c = carry
        i, f, g, o = jnp.split(x @ kernel + h @ recurrent + bias[None], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


@dataclass(frozen=True)
class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the product, as in cuDNN, PyTorch and Keras.

    `r, z = sigmoid(x W_rz + h U_rz + b_rz)`, `n = tanh(x W_n + b_n + r (h U_n + b_u))`, `h' = (1 - z) n + z h`; outputs
    `h'`. Weights stand in the order r, z, n; `b_u`, `[features]`, is the parameter `recurrent_bias`.
    """

    def forward(self, scope: Scope, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel, recurrent, bias = self.weights(scope, x, 3)
        recurrent_bias = scope.param("recurrent_bias", initializers.zeros, (self.features,), x.dtype)
        x_r, x_z, x_n = jnp.split(x @ kernel + bias[None], 3, -1)
        h_r, h_z, h_n = jnp.split(carry @ recurrent, 3, -1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        h = (1 - z) * jnp.tanh(x_n + r * (h_n + recurrent_bias[None])) + z * carry
        return h, h


@dataclass(frozen=True)
class Recurrent(Layer):
    """Runs a cell along time, over padded sequences of any length.

    Args:
        cell: `RNN`, `LSTM`, `GRU` or a `Cell` of your own, without state.
        outputs: `"last"`, the output at each sequence's last valid step, or `"all"`.

    Inputs: `x` `[batch, time, inputs]`; `lengths`, integers `[batch]` in 1..time (all steps where not given). Output:
    `[batch, features]`, or `[batch, time, features]`, 0 after a sequence's end. Padded steps change neither carry nor
    gradients: the code of a padded sequence is that of the cut one.
    """

    cell: Cell
    outputs: Literal["last", "all"] = "last"

    def __post_init__(self) -> None:
        if self.outputs not in ("last", "all"):
            raise FdlError("Recurrent(outputs)", repr(self.outputs), "'last' or 'all'")

    def forward(self, scope: Scope, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        if x.ndim != 3:
            raise ValueError(f"x has {x.ndim} axes, not [batch, time, features]")
        start = self.cell.start(x.shape[0], x.dtype)
        params, step = scope.lift(self.cell, start, x[:, 0], name="cell")
        _, outputs = ops.recur(lambda carry, x_t: step(params, carry, x_t), start, x, lengths)
        if self.outputs == "all":
            return outputs
        return outputs[:, -1] if lengths is None else outputs[jnp.arange(x.shape[0]), lengths - 1]
