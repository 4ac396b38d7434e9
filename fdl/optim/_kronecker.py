"""Arrays seen along each of their axes: Kronecker factors, as Shampoo, SOAP and PSGD keep them."""

from typing import Any

import jax
import jax.numpy as jnp

Factors = tuple[jax.Array | None, ...]
"""A square matrix for each axis; `None` stands for the identity."""


def axes(p: jax.Array, largest: int, vectors: bool) -> tuple[int | None, ...]:
    """The size of each axis that gets a factor: not one that is longer than `largest`, nor a vector's unless `vectors`."""
    few = p.ndim < 2 and not vectors
    return tuple(None if few or n > largest else n for n in (p.shape or (1,)))


def gram(g: jax.Array, sizes: tuple[int | None, ...]) -> Factors:
    """For each axis the products of its slices, $G G^\\top$ and $G^\\top G$ of a matrix."""
    g = g.reshape(g.shape or (1,))
    flat = lambda i: jnp.moveaxis(g, i, 0).reshape(g.shape[i], -1)
    return tuple(None if n is None else flat(i) @ flat(i).T for i, n in enumerate(sizes))


def times(x: jax.Array, factors: Factors, transposed: bool = False) -> jax.Array:
    """`x` multiplied along each axis by its factor, or by the factor's transpose: $A x B^\\top$ of a matrix."""
    y = x.reshape(x.shape or (1,))
    for i, factor in enumerate(factors):
        if factor is not None:
            y = jnp.moveaxis(jnp.tensordot(factor, y, (0 if transposed else 1, i)), 0, i)
    return y.reshape(x.shape)


@jax.custom_jvp
def inverse_power(matrix: jax.Array, power: Any, eps: Any) -> jax.Array:
    r"""$(A + \epsilon I)^{-p}$ of a symmetric matrix without negative eigenvalues; its derivative holds for equal ones, too."""
    return _of_eigenvalues(matrix, power, eps)[0]


def _of_eigenvalues(matrix: jax.Array, power: Any, eps: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    values, vectors = jnp.linalg.eigh(matrix)
    values = jnp.maximum(values, 0) + eps
    return (vectors * (values**-power)[None]) @ vectors.T, values, vectors


@inverse_power.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    """Daleckii & Krein: differences of the function's values over those of the eigenvalues, or its derivative where these are equal."""
    matrix, power, eps = primals
    dmatrix, dpower, deps = tangents
    result, a, V = _of_eigenvalues(matrix, power, eps)
    f, slope = a**-power, -power * a ** (-power - 1)
    gap = a[:, None] - a[None, :]
    near = abs(gap) <= 1e-6 * (a[:, None] + a[None, :])
    middle = -power * ((a[:, None] + a[None, :]) / 2) ** (-power - 1)
    quotient = jnp.where(near, middle, (f[:, None] - f[None, :]) / jnp.where(near, 1, gap))
    spread = lambda diagonal: (V * diagonal[None]) @ V.T
    moved = V @ (quotient * (V.T @ dmatrix @ V)) @ V.T
    return result, moved + spread(slope) * deps - spread(f * jnp.log(a)) * dpower
