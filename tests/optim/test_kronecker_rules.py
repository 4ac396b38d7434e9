"""Shampoo and SOAP on single matrices, where more is known of them; the root of a matrix and its derivative."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from fdl import optim
from fdl.optim._kronecker import gram, inverse_power, times
from fdl.testing._cases import Told
from fdl.testing.rules import matrix


def updates(optimizer, gradients):
    """Of each step, with the state after it."""
    p = {"kernel": jnp.zeros(gradients[0].shape)}
    state, out = optimizer.init(p), []
    step = jax.jit(optimizer.update)
    for g in gradients:
        u, state = step({"kernel": jnp.asarray(g)}, state, p)
        p = optim.apply_updates(p, u)
        out.append((np.asarray(u["kernel"]), state))
    return out


def test_shampoos_first_step_is_the_orthogonal_factor(float64):
    """L^(-1/4) G R^(-1/4) is U V^T where G = U S V^T, if nothing was gathered before."""
    g = np.random.default_rng(0).normal(size=(4, 4))
    u, _, v = np.linalg.svd(g)
    step, _ = updates(optim.Shampoo(1.0, eps=1e-14), [g])[0]
    np.testing.assert_allclose(step, -u @ v, atol=1e-9)


def test_shampoo_of_a_vector_is_adagrad_with_a_full_matrix(float64):
    gradients = np.random.default_rng(1).normal(size=(6, 3))
    total = 1e-2 * np.eye(3)
    for g, (step, _) in zip(gradients, updates(optim.Shampoo(0.3, eps=1e-2), gradients)):
        total += np.outer(g, g)
        np.testing.assert_allclose(step, -0.3 * np.linalg.inv(scipy.linalg.sqrtm(total)) @ g, rtol=1e-10)


def test_grafting_takes_the_norm(float64):
    gradients = np.random.default_rng(2).normal(size=(3, 4, 3))
    plain, grafted = (updates(optim.Shampoo(1.0, graft=graft), gradients) for graft in (None, "sgd"))
    for g, (a, _), (b, _) in zip(gradients, plain, grafted):
        np.testing.assert_allclose(np.linalg.norm(b), np.linalg.norm(g), rtol=1e-12)
        np.testing.assert_allclose(a / np.linalg.norm(a), b / np.linalg.norm(b), rtol=1e-9)


@pytest.mark.parametrize("optimizer", [optim.Shampoo(every=3.0), optim.SOAP(every=3.0)], ids=["shampoo", "soap"])
def test_roots_and_bases_change_every_so_many_steps(optimizer, float64):
    gradients = np.random.default_rng(3).normal(size=(7, 3, 3))
    slot = "roots" if isinstance(optimizer, optim.Shampoo) else "bases"
    seen = [np.asarray(state[slot]["kernel"][0]) for _, state in updates(optimizer, gradients)]
    changed = [i for i in range(1, 7) if (seen[i] != seen[i - 1]).any()]
    assert changed == [3, 6]


def test_soap_in_two_bases_equals_its_reference(float64):
    """Square gradients of full rank: then no basis is open."""
    o = dataclasses.replace(optim.SOAP(0.1, 0.8, 0.9, 1e-3), every=2.0)
    gradients = np.random.default_rng(4).normal(size=(12, 5, 5))
    reference = matrix.soap(o, [np.zeros((5, 5))])
    points = [next(reference)[0]] + [reference.send(Told([g]))[0] for g in gradients]
    for wanted, (step, _) in zip(np.diff(points, axis=0), updates(o, gradients)):
        np.testing.assert_allclose(step, wanted, atol=1e-12)


def test_soaps_bases_diagonalise(float64):
    """Of gradients that come from one covariance, the bases become its eigenvectors, and Adam sees independent coordinates."""
    rng = np.random.default_rng(5)
    left, right = np.linalg.qr(rng.normal(size=(4, 4)))[0], np.linalg.qr(rng.normal(size=(3, 3)))[0]
    gradients = left @ (np.array([10.0, 5, 2, 1])[:, None] * rng.normal(size=(600, 4, 3)) * np.array([9.0, 3, 1])) @ right.T
    _, state = updates(optim.SOAP(b2=0.99, every=1.0), gradients)[-1]
    for basis, truth in zip(state["bases"]["kernel"], (left, right)):
        np.testing.assert_allclose(abs(np.asarray(basis).T @ truth), np.eye(len(truth)), atol=0.2)


def test_gram_and_times_of_a_matrix(float64):
    g = jnp.asarray(np.random.default_rng(6).normal(size=(4, 3)))
    a, b = (jnp.asarray(np.random.default_rng(7).normal(size=(n, n))) for n in (4, 3))
    L, R = gram(g, (4, 3))
    np.testing.assert_allclose(L, g @ g.T, rtol=1e-12)
    np.testing.assert_allclose(R, g.T @ g, rtol=1e-12)
    np.testing.assert_allclose(times(g, (a, b)), a @ g @ b.T, rtol=1e-12)
    np.testing.assert_allclose(times(g, (a, None), transposed=True), a.T @ g, rtol=1e-12)
    assert gram(g, (None, 3))[0] is None


@pytest.mark.parametrize("values", [[1.0, 2.0, 5.0], [2.0, 2.0, 2.0], [0.0, 0.0, 3.0], [1.0, 1.0 + 1e-9, 4.0]], ids=str)
def test_the_roots_derivatives_are_true(values, float64):
    """Also where eigenvalues are equal, where that of the eigenvectors is not finite."""
    rng = np.random.default_rng(8)
    Q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    A = jnp.asarray(Q @ np.diag(values) @ Q.T)
    B = rng.normal(size=(3, 3))
    direction = (jnp.asarray(B @ B.T), 0.3, 0.7)  # eigenvalues stay at least 0
    point = (A, 0.25, 0.5)
    f = lambda h: inverse_power(*(x + h * d for x, d in zip(point, direction)))
    np.testing.assert_allclose(f(0.0), scipy.linalg.fractional_matrix_power(A + 0.5 * np.eye(3), -0.25), rtol=1e-10, atol=1e-12)
    _, tangent = jax.jvp(inverse_power, point, direction)
    h = 1e-5
    np.testing.assert_allclose(tangent, (-3 * f(0.0) + 4 * f(h) - f(2 * h)) / (2 * h), rtol=1e-6, atol=1e-8)
    weights = jnp.asarray(rng.normal(size=(3, 3)))
    gradient = jax.grad(lambda *x: (weights * inverse_power(*x)).sum(), (0, 1, 2))(*point)
    pulled = sum((g * d).sum() for g, d in zip(gradient, direction))
    np.testing.assert_allclose(pulled, (weights * tangent).sum(), rtol=1e-10)
