"""Where in a sequence something stands, written in waves of many lengths."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _angles(time: int, pairs: int, base: float) -> np.ndarray:
    """`t / base^(i / pairs)`, `[time, pairs]`, in float64: a long sequence's angles are large."""
    return np.arange(time)[:, None] / base ** (np.arange(pairs) / pairs)[None, :]


def sinusoidal(time: int, features: int, dtype: Any = jnp.float32, *, base: float = 10000.0) -> jax.Array:
    """`[time, features]`: at position t, feature 2i is `sin(t / base^(2i / features))`, and 2i + 1 its cosine.

    Vaswani et al. 2017, "Attention Is All You Need", section 3.5.

    Raises:
        ValueError: for an odd number of features.
    """
    _check_even(features)
    angles = _angles(time, features // 2, base)
    return jnp.asarray(np.stack([np.sin(angles), np.cos(angles)], -1).reshape(time, features), dtype)


def rotary(x: jax.Array, *, base: float = 10000.0) -> jax.Array:
    """Turns features (2i, 2i + 1) of position t, as one complex number, by the angle `t / base^(2i / features)`.

    Su et al. 2021, "RoFormer", equation 34. The product of a turned query and a turned key depends on their distance alone.

    Args:
        x: `[batch, time, heads, features]`, queries or keys.

    Returns:
        The same shape and dtype; the angles are exact in it.

    Raises:
        ValueError: for an odd number of features.
    """
    _check_even(x.shape[-1])
    angles = _angles(x.shape[1], x.shape[-1] // 2, base)[None, :, None, :]
    wide = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
    sin, cos = jnp.asarray(np.sin(angles), wide), jnp.asarray(np.cos(angles), wide)
    even, odd = x[..., 0::2].astype(wide), x[..., 1::2].astype(wide)
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape).astype(x.dtype)


def _check_even(features: int) -> None:
    if features % 2:
        raise ValueError(f"positions are written in pairs of features, of which {features} is no even number")
