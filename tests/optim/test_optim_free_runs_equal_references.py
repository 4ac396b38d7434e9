"""200 steps on a loss of its own, in float64: fdl against optax, PyTorch and, for momentum, the closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optimizers_table import CASES
from teacher_forced import relative

from fdl import optim

STEPS = 200
CURVATURE = np.logspace(-6, -0.5, 6)
START = np.array([4.0, -3.0, 3.5, 4.0, -3.5, 3.0])  # far enough for no coordinate to arrive: around 0 the sign decides, chaos


def gradient(c, x):
    """Of log(1 + sum(c x^2)) / 2: badly scaled, coupled, bounded, and only +, * and /, which are alike everywhere."""
    return c * x / (1 + (c * x * x).sum())


def trajectory(transform, start=START):
    """Parameters after each step, (steps, coordinates)."""
    c = jnp.asarray(CURVATURE)

    def step(carry, _):
        x, state = carry
        updates, state = transform.update(gradient(c, x), state, x)
        return (x + updates, state), x + updates

    x = jnp.asarray(start)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        return jax.jit(lambda: jax.lax.scan(step, (x, transform.init(x)), length=STEPS)[1])()


def torch_trajectory(torch, case):
    c = torch.tensor(CURVATURE)
    x = torch.tensor(START, requires_grad=True)
    optimizer = case.torch(torch, [x])
    rows = []
    for _ in range(STEPS):
        x.grad = gradient(c, x.detach())
        optimizer.step()
        rows.append(x.detach().numpy().copy())
    return np.stack(rows)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_200_steps_equal_optax(case, float64):
    ours, theirs = trajectory(case.ours), trajectory(case.optax)
    worst = relative(ours, theirs)
    print(case, worst)
    assert ours.dtype == jnp.float64
    assert np.abs(ours[-1] - START).min() > 1e-6  # each coordinate moved, six orders above the tolerance
    assert worst <= 1e-14  # worst measured 3e-16 (Adam)


@pytest.mark.parametrize("case", [c for c in CASES if not getattr(c.ours, "eps_in_sqrt", False)], ids=str)
def test_200_steps_equal_torch(case, float64, torch):
    worst = relative(trajectory(case.ours), torch_trajectory(torch, case))
    print(case, worst)
    assert worst <= 1e-14  # worst measured 4.5e-16 (Adadelta)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_on_a_quadratic_equals_its_closed_form(momentum, nesterov, float64):
    """x_t = A p^t + B q^t, where p and q are the roots of r^2 - (1 + mu - lr c) r + mu, and with Nesterov's step of
    r^2 - (1 + mu) (1 - lr c) r + mu (1 - lr c); real for small curvature c, complex for large."""
    lr, c, mu = 0.1, np.array([0.01, 0.05, 1.0, 5.0, 9.0]), momentum
    opt = optim.Momentum(lr, momentum, nesterov)
    x0 = np.array([1.0, -1.0, 2.0, 0.5, 1.0])

    def step(carry, _):
        x, state = carry
        updates, state = opt.update(c * x, state, x)
        return (x + updates, state), x + updates

    _, xs = jax.lax.scan(step, (jnp.asarray(x0), opt.init(x0)), length=STEPS)

    total, product = ((1 + mu) * (1 - lr * c), mu * (1 - lr * c)) if nesterov else (1 + mu - lr * c, mu + 0 * c)
    root = np.sqrt(total.astype(complex) ** 2 - 4 * product)
    p, q = (total + root) / 2, (total - root) / 2
    first = x0 * (1 - lr * c * (1 + mu if nesterov else 1))  # b_1 = c x_0
    a = (first - q * x0) / (p - q)
    t = np.arange(1, STEPS + 1)[:, None]
    closed = a * p**t + (x0 - a) * q**t
    worst = relative(xs, closed.real)
    print(momentum, nesterov, worst)
    assert worst <= 1e-12  # worst measured 6.1e-14: the closed form's own cancellation where p and q are close
