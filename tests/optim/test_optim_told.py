"""`optim.step` tells every optimizer what it asks for of the loss, by fdl's names and by optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdl import optim

SCALES = jnp.asarray([1.0, 10.0, 0.3])
START = jnp.asarray([1.0, -2.0, 3.0])


@pytest.fixture(autouse=True)
def standard_promotion():
    """optax mixes dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def loss(p):
    return (SCALES * p**2).sum() + p[0] * p[1] + 1


def by_fdl(optimizer, steps):
    def step(carry, _):
        p, state = carry
        value, grads = jax.value_and_grad(loss)(p)
        return optim.step(optimizer, grads, state, p, value=value, objective=loss), None

    return jax.lax.scan(step, (START, optimizer.init(START)), length=steps)[0][0]


def by_optax(transform, steps, told):
    p, state = START, transform.init(START)
    for _ in range(steps):
        value, grads = jax.value_and_grad(loss)(p)
        updates, state = transform.update(grads, state, p, **told(value, grads))
        p = optax.apply_updates(p, updates)
    return p


gradient_at = lambda p, _: jax.grad(loss)(p)
THEIRS = {
    "lbfgs": (optax.lbfgs(), lambda value, grads: {"value": value, "grad": grads, "value_fn": loss}),
    "backtracking": (
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10)),
        lambda value, grads: {"value": value, "grad": grads, "value_fn": loss},
    ),
    "sam, opaque": (
        optax.contrib.sam(optax.sgd(0.01), optax.chain(optax.contrib.normalize(), optax.sgd(0.05)), opaque_mode=True),
        lambda value, grads: {"grad_fn": gradient_at},
    ),
    "sam, transparent": (
        optax.contrib.sam(optax.sgd(0.01), optax.chain(optax.contrib.normalize(), optax.sgd(0.05))),
        lambda value, grads: {},
    ),
    "polyak": (optax.polyak_sgd(f_min=1.0), lambda value, grads: {"value": value}),
    "momo": (optax.contrib.momo(0.1), lambda value, grads: {"value": value}),
    "sophia": (optax.contrib.sophia(0.1), lambda value, grads: {"obj_fn": loss}),
}


@pytest.mark.parametrize("name", THEIRS)
def test_optax_is_told_what_it_asks_for(name):
    transform, told = THEIRS[name]
    expected = by_optax(transform, 6, told)
    assert (expected != START).any()
    plain = by_fdl(transform, 6)
    np.testing.assert_allclose(plain, expected, rtol=2e-5, atol=1e-6)  # float32, compiled and not
    wrapped = optim.Chain(optim.IfFinite(optim.Groups({"*": transform}, rest=optim.Frozen()) if name == "polyak" else transform))
    np.testing.assert_allclose(by_fdl(wrapped, 6), plain, rtol=2e-5, atol=1e-6)


def test_lbfgs_comes_to_the_minimum_and_its_memory_can_be_swept():
    found = jax.jit(lambda o: by_fdl(o, 12))(optim.from_optax(optax.lbfgs))
    assert loss(found) - 1 <= 1e-10


def test_a_line_search_in_a_chain_is_told_the_gradient_of_the_loss():
    """Not what the stages before made of it: else the search would measure the wrong slope."""
    scaled = optim.Chain(optim.from_optax(optax.scale, step_size=1e-3), optax.sgd(1e3), optax.scale_by_backtracking_linesearch(10))
    plain = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10))
    np.testing.assert_allclose(by_fdl(scaled, 5), by_fdl(plain, 5), rtol=1e-4)


def test_what_needs_the_loss_stands_in_optax_too():
    sam = optim.SAM(optim.Momentum(0.01), rho=0.1)
    ours = optim.Chain(optim.ClipByValue(5.0), sam, optax.scale(0.5))
    theirs = optax.chain(optax.clip(5.0), optim.as_optax(sam), optax.scale(0.5))
    np.testing.assert_allclose(by_fdl(theirs, 5), by_fdl(ours, 5), rtol=1e-6)
    masked = optax.partition({"all": optim.as_optax(sam)}, "all")
    told = lambda value, grads: {"value": value, "value_fn": loss}
    np.testing.assert_allclose(by_optax(masked, 5, told), by_fdl(sam, 5), rtol=2e-6)


def test_an_optimizer_of_ones_own_is_told_no_more_than_it_takes():
    class Plain:
        def init(self, params):
            return ()

        def update(self, grads, state, params=None):
            return -0.1 * grads, state

    class Curious(Plain):
        def update(self, grads, state, params=None, *, value, objective):
            return -0.1 * grads * (value - objective(params) + 1), state

    assert (by_fdl(Plain(), 3) == by_fdl(Curious(), 3)).all()
