"""Rules that need no learning rate find their way whatever the scale of the loss."""

import jax
import jax.numpy as jnp
import pytest

from fdl import optim

FREE = {
    "Prodigy": optim.Prodigy(optim.Linear(1.0, 1000.0)),
    "D-adaptation, SGD": optim.DAdaptSGD(optim.Linear(1.0, 1000.0)),
    "D-adaptation, Adam": optim.DAdaptAdam(optim.Linear(1.0, 1000.0)),
    "DoG": optim.DoG(),
    "DoG per layer": optim.DoG(per_layer=True),
    "DoWG": optim.DoWG(),
    "COCOB": optim.COCOB(),
    "Polyak": optim.Polyak(1e9),
    "MoMo": optim.MoMo(1e9),
    "Mechanic": optim.Mechanic(optim.SGD(optim.Linear(1.0, 1000.0))),
}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", FREE)
def test_it_descends_at_any_scale(name, scale, float64):
    optimizer = FREE[name]
    loss = lambda x: scale * (jnp.logspace(-1, 1, 10) * (x["a"] - 1) ** 2).sum() + scale * ((x["b"] + 2) ** 2).sum()
    start = {"a": jnp.zeros(10), "b": jnp.zeros((2, 2))}

    @jax.jit
    def run(x):
        def step(carry, _):
            x, state = carry
            value, g = jax.value_and_grad(loss)(x)
            return optim.step(optimizer, g, state, x, value=value, objective=loss), None

        (x, state), _ = jax.lax.scan(step, (x, optimizer.init(x)), length=1000)
        return loss(optim.evaluation_params(optimizer, state, x))

    share = run(start) / loss(start)
    print(name, scale, share)
    assert share < 0.01
