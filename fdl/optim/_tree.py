"""Vectors that are trees of arrays: products, norms and quotients for rules of the whole."""

from typing import Any

import jax
import jax.numpy as jnp

from fdl.optim._base import Tree
from fdl.optim._rule import _common, safe_sqrt


def dot(a: Tree, b: Tree) -> Any:
    """The inner product of two trees."""
    return sum((x * y).sum() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def norm(a: Tree) -> jax.Array:
    """The Euclidean norm of a tree; its derivative at 0 is 0."""
    return safe_sqrt(jnp.asarray(dot(a, a)))


def size1(a: Tree) -> Any:
    """The sum of absolute values."""
    return sum(abs(x).sum() for x in jax.tree.leaves(a))


def ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a / b`, and 0 where `b` is 0."""
    zero = b == 0
    return jnp.where(zero, 0, a / jnp.where(zero, 1, b))


def minus(a: Tree, b: Tree) -> Tree:
    return jax.tree.map(jnp.subtract, a, b)


def copied(a: Tree) -> Tree:
    """The same values in buffers of their own."""
    return jax.tree.map(jnp.copy, a)


def zero(a: Tree) -> jax.Array:
    """A scalar 0 in the tree's common dtype."""
    return jnp.zeros((), _common(a))
