"""Wrappers and chains beyond their laws: what they promise of the optimizers within."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdl import FdlError, optim
from fdl.testing import optimizers

P = {"w": jnp.asarray([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.asarray([0.3, -0.7])}


def loss(p, data=0.0):
    return sum(((leaf - data) ** 2 + 0.1 * (leaf - data) ** 4).sum() for leaf in jax.tree.leaves(p))


def train(optimizer, steps=7, p=None):
    def step(carry, _):
        p, state = carry
        value, grads = jax.value_and_grad(loss)(p)
        p, state = optim.step(optimizer, grads, state, p, value=value, objective=loss)
        return (p, state), p

    p = jax.tree.map(lambda x: x.astype(jnp.result_type(float)), P) if p is None else p
    return jax.lax.scan(step, (p, optimizer.init(p)), length=steps)


# ---- accumulation ----


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("inner", [optim.Adam(0.1), optax.polyak_sgd()], ids=["adam", "polyak"])
def test_accumulated_is_one_step_on_the_mean_of_the_batches(inner, dtype, error):
    p = jax.tree.map(lambda x: x.astype(dtype), P)
    batches = [0.5, -1.0, 2.0]
    whole = lambda p: sum(loss(p, jnp.asarray(d, dtype)) for d in batches) / len(batches)
    wrapped = optim.Accumulate(inner, every=3)
    state, q = wrapped.init(p), p
    with jax.numpy_dtype_promotion("standard"):
        for data in batches:
            assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), p, q))
            value, grads = jax.value_and_grad(loss)(q, jnp.asarray(data, dtype))
            q, state = optim.step(wrapped, grads, state, q, value=value)
        value, grads = jax.value_and_grad(whole)(p)
        expected, _ = optim.step(inner, grads, inner.init(p), p, value=value)
    assert error(q, expected) <= (1e-6 if dtype == "float32" else 2e-2)  # measured 6e-8 and 8e-3, one ulp
    assert (state["step"], state["filled"]) == (3, 0)


def test_accumulated_schedules_count_the_inner_steps():
    rates = optim.Piecewise((0.1, 0.01), (1,))
    state, g = optim.Accumulate(optim.SGD(rates), 2).init(jnp.ones(2)), jnp.ones(2)
    moves = []
    for _ in range(6):
        update, state = optim.Accumulate(optim.SGD(rates), 2).update(g, state)
        moves.append(float(update[0]))
    np.testing.assert_allclose(moves, [0, -0.1, 0, -0.01, 0, -0.01], rtol=1e-6)


def test_what_asks_for_gradients_elsewhere_is_not_accumulated_but_accumulates():
    with pytest.raises(FdlError, match=r"asks for gradients elsewhere; expected one that does not.\n  SAM\(Accumulate"):
        optim.Accumulate(optim.SAM(optim.SGD()))
    assert optim.SAM(optim.Accumulate(optim.SGD())).gradients_per_step == 2


# ---- gradients that are not finite ----


def bad_gradients():
    g = np.random.default_rng(0).normal(size=(14, 3))
    for row, column, what in (
        (2, 0, np.nan),
        (3, 1, np.inf),
        (6, 2, -np.inf),
        (9, 0, np.nan),
        (10, 0, np.nan),
        (11, 1, np.nan),
        (12, 1, np.inf),
    ):
        g[row, column] = what
    return jnp.asarray(g)


def updates_of(transform, g):
    step = lambda state, g: transform.update(g, state, g)[::-1]
    return jax.lax.scan(step, transform.init(g[0]), g)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_it_passes_over_what_is_not_finite_as_optax_does(most, float64):
    ours, updates = jax.jit(updates_of)(optim.IfFinite(optim.Momentum(0.1), most), bad_gradients())
    theirs, expected = updates_of(optax.apply_if_finite(optax.sgd(0.1, 0.9), most), bad_gradients())
    np.testing.assert_array_equal(np.isfinite(updates), np.isfinite(expected))
    np.testing.assert_allclose(updates, expected, rtol=1e-13)
    assert (ours["consecutive"], ours["total"]) == (theirs.notfinite_count, theirs.total_notfinite)
    assert np.isfinite(updates).all() == (most >= 4)  # four in a row


def test_derivatives_pass_over_them_too():
    """Also where the run is mapped, so that the step not taken is computed."""
    total = lambda lr: updates_of(optim.IfFinite(optim.Adam(lr)), bad_gradients())[1].sum()
    slopes = jax.vmap(jax.grad(total))(jnp.asarray([0.1, 0.2]))
    assert np.isfinite(slopes).all()
    assert (slopes != 0).all()


# ---- lookahead ----


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("inner", [optim.Adam(0.1), optax.adam(0.1)], ids=["fdl", "optax"])
def test_lookahead_equals_optax_whose_parameters_are_pairs(inner, reset, float64, error):
    theirs = optax.lookahead(optax.adam(0.1), 3, 0.4, reset)
    ours = optim.Lookahead(inner, 3, 0.4, reset)
    p = jax.tree.map(lambda x: x.astype(float), P)
    with jax.numpy_dtype_promotion("standard"):
        pair = optax.LookaheadParams.init_synced(p)
        state, kept = theirs.init(pair), ours.init(p)
        for _ in range(10):
            updates, state = theirs.update(jax.grad(loss)(pair.fast), state, pair)
            pair = optax.apply_updates(pair, updates)
            p, kept = optim.step(ours, jax.grad(loss)(p), kept, p)
            assert error((p, ours.evaluation_params(kept, p)), (pair.fast, pair.slow)) <= 1e-14


def test_slow_weights_of_bfloat16_parameters_are_kept_in_float32():
    p = jax.tree.map(lambda x: x.astype(jnp.bfloat16), P)
    ours = optim.Lookahead(optim.SGD(1e-3), 1, 0.5)
    (p, state), _ = train(ours, 50, p)
    assert {leaf.dtype for leaf in jax.tree.leaves(state["slow"])} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(ours.evaluation_params(state, p))} == {jnp.dtype("bfloat16")}


# ---- averages ----


def test_the_average_is_differentiated_by_its_decay(float64):
    def measured(decay):
        ours = optim.Averaged(optim.SGD(0.05), decay)
        (p, state), _ = train(ours)
        return loss(ours.evaluation_params(state, p))

    differences = (measured(0.8 + 1e-6) - measured(0.8 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(measured)(0.8), differences, rtol=1e-7)


def test_before_the_first_step_the_average_is_the_parameters():
    for debias in (True, False):
        ours = optim.Averaged(optim.SGD(), debias=debias)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), ours.evaluation_params(ours.init(P), P), P))


def test_a_scheduled_decay_gives_the_plain_mean(float64, error):
    """With d = (t - 1) / t every parameter weighs the same."""
    ours = optim.Averaged(optim.SGD(0.05), lambda step: step.astype(float) / (step.astype(float) + 1))
    (p, state), path = train(ours)
    assert error(ours.evaluation_params(state, p), jax.tree.map(lambda x: x.mean(0), path)) <= 1e-14


# ---- noise ----


def test_noise_has_the_papers_variance(float64):
    noise = optim.Noise(eta=0.3, gamma=0.55)
    g = jnp.zeros((40, 20_000))
    _, drawn = updates_of(noise, g)
    t = np.arange(1, 41)
    # The relative error of 20,000 values' variance is normal with deviation 1 %: 5 % is beyond any chance.
    np.testing.assert_allclose(drawn.var(axis=1), 0.3 / t**0.55, rtol=0.05)
    assert abs(np.corrcoef(drawn)[np.triu_indices(40, 1)]).max() < 0.05
    assert abs(np.asarray(drawn).mean()) < 0.005


def test_noise_follows_seed_and_start_and_is_the_same_again():
    draw = lambda p, seed=0: optim.Noise(seed=seed).update(jnp.zeros(3), optim.Noise().init(p))[0]
    first = draw(jnp.ones(3))
    assert (draw(jnp.ones(3)) == first).all()
    for other in (draw(jnp.ones(3), 1), draw(jnp.asarray([1.0, 1.0, 1.1]))):
        assert (other != first).all()
    mapped = jax.vmap(draw)(jnp.asarray([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]))
    assert (mapped[0] == first).all()
    two = optim.Noise().update({"a": jnp.zeros(3), "b": jnp.zeros(3)}, optim.Noise().init({"a": jnp.ones(3)}))[0]
    assert (two["a"] != two["b"]).all()


@pytest.mark.parametrize("law", sorted(set(optimizers.LAWS) - {"converges"}))
def test_noise_keeps_the_laws(law):
    noisy = optim.Chain(optim.Noise(0.1, 0.5, 3.0), optim.SGD(0.05))
    optimizers.check(law, optimizers.Case("noise", noisy, still=False))


# ---- whole and parts ----


def test_gradients_a_step_are_counted_once_and_what_each_asks_for_besides():
    sam = optim.SAM(optim.SGD())
    assert sam.gradients_per_step == 2
    assert optim.SAM(sam).gradients_per_step == 3
    assert optim.Chain(optim.ClipByValue(), sam, optim.DecoupledDecay()).gradients_per_step == 2
    assert optim.Lookahead(optim.Averaged(sam)).gradients_per_step == 2
    assert optim.Chain(optax.clip(1.0), optax.adam(0.1)).gradients_per_step == 1


def test_names_tell_what_is_within():
    ours = optim.Lookahead(optim.Chain(optim.ClipByValue(), optim.Adam()))
    assert ours.name == "lookahead(clipbyvalue + adam)"
    assert optim.SAM(optax.adam(0.1)).name == "sam(optax)"


def test_what_is_measured_comes_through_the_stages():
    ours = optim.Chain(optim.ClipByGlobalNorm(), optim.IfFinite(optim.Lookahead(optim.SGD(0.1), 100)))
    (p, state), _ = train(ours)
    measured = optim.evaluation_params(ours, state, p)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), measured, P))
    assert not jax.tree.all(jax.tree.map(lambda a, b: (a == b).any(), p, P))


def test_adam_and_decoupled_decay_are_adamw(float64, error):
    chain = optim.Chain(optim.Adam(0.1), optim.DecoupledDecay(0.1, 0.05, "w"))
    theirs = optax.adamw(0.1, weight_decay=0.05, mask={"w": True, "b": False})
    (ours, _), _ = jax.jit(train)(chain)
    with jax.numpy_dtype_promotion("standard"):
        (expected, _), _ = train(theirs)
    assert error(ours, expected) <= 1e-14


def test_every_number_by_name_at_the_present_step():
    rate = optim.Linear(peak=0.4, steps=4.0)
    ours = optim.Chain(
        optim.ClipByValue(optim.Polynomial(1.0, 10, end=0.0)),
        optim.Groups({"b": optim.SGD(rate)}, rest=optim.Lookahead(optim.Momentum(0.1, optim.Constant(0.5)), k=5.0)),
        optim.from_optax(optax.scale, step_size=0.5),
    )
    (_, state), _ = jax.jit(lambda o: train(o, 2))(ours)
    found = {name: round(float(value), 6) for name, value in jax.jit(optim.hyperparameters)(ours, state).items()}
    assert found == {
        "stages.0.limit": 0.8,
        "stages.1.groups.b.lr": 0.2,
        "stages.1.rest.k": 5.0,
        "stages.1.rest.alpha": 0.5,
        "stages.1.rest.inner.lr": 0.1,
        "stages.1.rest.inner.momentum": 0.5,
        "stages.2.step_size": 0.5,
    }
    adam = optim.from_optax(optax.adam, learning_rate=rate)
    state = optax.tree_utils.tree_set(adam.init(P), count=jnp.asarray(1))
    np.testing.assert_allclose(optim.hyperparameters(adam, state)["learning_rate"], 0.3, rtol=1e-6)
    fixed = optim.as_pytree(optim.SGD(optax.linear_schedule(0.2, 0.0, 4)))
    assert optim.hyperparameters(fixed, fixed.init(P)) == {"lr": jnp.float32(0.2)}
    assert optim.hyperparameters(optax.adam(0.1), optax.adam(0.1).init(P)) == {}


def test_a_wrapper_of_a_users_own_is_a_dataclass_with_an_update():
    @optim.optimizer
    class Halved(optim.Wrapper):
        by: float = 0.5

        def update(self, grads, state, params=None, *, value=None, objective=None):
            updates, inner = self.inner.update(grads, state["inner"], params)
            return jax.tree.map(lambda u: self.by * u, updates), {"inner": inner, "step": state["step"] + 1}

    (ours, _), _ = jax.jit(train)(Halved(optim.SGD(0.1)))
    (half, _), _ = jax.jit(train)(optim.SGD(0.05))
    assert jax.tree.all(jax.tree.map(lambda a, b: jnp.allclose(a, b), ours, half))
    assert dataclasses.replace(Halved(optim.SGD(0.1)), by=1.0).name == "halved(sgd)"
