"""Every optimizer beside optax, PyTorch and its paper's rule in NumPy, wherever these exist.

All cases of the classics, and one of each other optimizer and composition; what is beyond them takes minutes more.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import optim
from fdl.testing import _problems, equivalence
from fdl.testing.rules import CASES, classics

MADE_OF = {tuple(re.findall(r"[A-Z]\w*(?=\()", repr(case.ours))): name for name, case in reversed(CASES.items())}
FIRST = {*MADE_OF.values(), *(case.name for case in classics.CASES)}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FIRST else pytest.mark.slow) for name in CASES])
def test_equal_to_every_reference(name, capsys):
    if CASES[name].torch is not None:
        pytest.importorskip("torch", reason="PyTorch, a reference of this test, is not installed")
    rows = list(equivalence.compare(CASES[name]))
    print(*rows, sep="\n")
    assert rows, "no reference: an optimizer without a proof"
    assert all(row.equal for row in rows), [row for row in rows if not row.equal]


def test_every_optimizer_has_a_case():
    cases = {type(case.ours) for case in CASES.values()}
    assert set(optim.named.values()) <= cases


def test_the_gradients_are_the_hard_ones():
    g = _problems.gradients("vector")
    sizes = np.abs(g[g != 0])
    assert sizes.min() < 1e-9
    assert sizes.max() > 1e3
    assert (np.abs(np.diff(np.log10(np.sort(sizes)))) < 1).all()  # no decade is missing
    assert ((g > 0).any(axis=0) == (g < 0).any(axis=0)).all()  # both signs wherever there is one
    assert (g == 0).mean() > 0.1
    assert {0, 1, 999_999} < set(_problems.COUNTS)


def test_the_millionth_step_of_adam_has_no_bias_left():
    g = jnp.asarray([1.0, -2.0])
    state = {"step": jnp.asarray(999_999), "m": jnp.zeros(2), "v": jnp.zeros(2)}
    update, after = optim.Adam(1.0, b1=0.5, b2=0.75, eps=1e-30).update(g, state)
    assert after["step"] == 1_000_000
    # 1 - 0.5^1e6 is exactly 1, so m_hat = 0.5 g and v_hat = 0.25 g^2: one step of 1. Measured error 0; 4 ulp of float32.
    np.testing.assert_allclose(update, [-1.0, 1.0], rtol=5e-7)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_on_a_quadratic_equals_its_closed_form(momentum, nesterov, float64):
    """x_t = A p^t + B q^t, where p and q are the roots of r^2 - (1 + mu - lr c) r + mu, and with Nesterov's step of
    r^2 - (1 + mu) (1 - lr c) r + mu (1 - lr c); real for small curvature c, complex for large."""
    lr, c, mu, steps = 0.1, np.array([0.01, 0.05, 1.0, 5.0, 9.0]), momentum, 200
    opt = optim.Momentum(lr, momentum, nesterov)
    x0 = np.array([1.0, -1.0, 2.0, 0.5, 1.0])

    def step(carry, _):
        x, state = carry
        updates, state = opt.update(c * x, state, x)
        return (x + updates, state), x + updates

    _, xs = jax.lax.scan(step, (jnp.asarray(x0), opt.init(x0)), length=steps)

    total, product = ((1 + mu) * (1 - lr * c), mu * (1 - lr * c)) if nesterov else (1 + mu - lr * c, mu + 0 * c)
    root = np.sqrt(total.astype(complex) ** 2 - 4 * product)
    p, q = (total + root) / 2, (total - root) / 2
    first = x0 * (1 - lr * c * (1 + mu if nesterov else 1))  # b_1 = c x_0
    a = (first - q * x0) / (p - q)
    t = np.arange(1, steps + 1)[:, None]
    closed = a * p**t + (x0 - a) * q**t
    worst = equivalence.relative(xs, closed.real)
    print(momentum, nesterov, worst)
    assert worst <= 1e-12  # worst measured 6.1e-14: the closed form's own cancellation where p and q are close
