"""A matrix of mean squares kept as the means of its rows and columns: Adafactor's and CAME's."""

import jax.numpy as jnp
import numpy as np

from fdl.optim._rule import safe_sqrt


def factored_axes(shape, least):
    """The two largest axes, the larger one last, where both have `least` entries; else `None`."""
    if len(shape) < 2:
        return None
    *_, d1, d0 = (int(axis) for axis in np.argsort(shape, kind="stable"))
    return (d1, d0) if shape[d1] >= least else None


def factored_start(p, axes):
    """Rows, columns and the whole matrix of zeros; what is not kept has one entry, as in optax."""
    none = lambda: jnp.zeros(1, p.dtype)
    if axes is None:
        return none(), none(), jnp.zeros_like(p)
    d1, d0 = axes
    return jnp.zeros_like(p.sum(d0)), jnp.zeros_like(p.sum(d1)), none()


def factored_mean(decay, square, axes, R, C, V):
    """The three slots after one more matrix of squares."""
    if axes is None:
        return R, C, decay * V + (1 - decay) * square
    mix = lambda old, axis: decay * old + (1 - decay) / square.shape[axis] * square.sum(axis)
    d1, d0 = axes
    return mix(R, d0), mix(C, d1), V


def over_root(x, axes, R, C, V):
    r"""$x / \sqrt{V}$, or $x / \sqrt{R\, C / \mathrm{mean}(R)}$: roots before quotients, whose derivatives else overflow in float32."""
    if axes is None:
        return x / safe_sqrt(V)
    d1, d0 = axes
    rows = safe_sqrt(R) / safe_sqrt(R.mean(d1 - (d1 > d0), keepdims=True))
    return x / jnp.expand_dims(rows, d0) / jnp.expand_dims(safe_sqrt(C), d1)
