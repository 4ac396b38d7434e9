"""A run is a pure function: cut, mapped, differentiated and repeated at will."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import small_task

from fdl import data, nn, optim, train

TASK = small_task()
KEY = jax.random.key(0)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@jax.jit
def run(optimizer, key):
    return train.run(TASK, optimizer, key)


def test_a_run_repeats_bit_for_bit_and_depends_on_its_seed():
    first, again, other = (run(optim.Adam(), key) for key in (KEY, KEY, jax.random.key(1)))
    assert bits(first) == bits(again)
    assert bits(first) != bits(other)


def test_measurements_have_a_place_for_every_evaluation():
    _, measured = run(optim.Adam(), KEY)
    assert jax.tree.map(jnp.shape, measured) == {"train": {"loss": (3,)}, "validation": {"loss": (3,), "accuracy": (3,)}}


@pytest.mark.parametrize("every", [1, 2, 6, 12])
def test_the_final_parameters_do_not_depend_on_where_the_run_is_cut(every):
    final, _ = jax.jit(lambda o, k: train.run(small_task(evaluate_every=every), o, k))(optim.Adam(), KEY)
    whole, _ = run(optim.Adam(), KEY)
    assert bits(final.params) == bits(whole.params)


def test_equal_seeds_give_every_optimizer_the_same_initial_parameters():
    assert bits(train.start(TASK, optim.SGD(), KEY).params) == bits(train.start(TASK, optim.Adam(), KEY).params)


def test_a_second_rate_does_not_recompile():
    traces = []
    counted = jax.jit(lambda o, k: traces.append(1) or train.run(TASK, o, k))
    counted(optim.Adam(lr=1e-3), KEY)
    counted(optim.Adam(lr=1e-2, b1=0.8), jax.random.key(3))
    assert len(traces) == 1


def test_mapping_over_rates_equals_a_loop():
    rates = [1e-3, 1e-2, 1e-1]
    stacked = optim.Adam(*(jnp.array(v, jnp.float32) for v in (rates, [0.9] * 3, [0.999] * 3, [1e-8] * 3)))
    _, mapped = jax.jit(jax.vmap(lambda o: train.run(TASK, o, KEY)))(stacked)
    for i, rate in enumerate(rates):
        _, single = run(optim.Adam(lr=rate), KEY)
        for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(single)):
            np.testing.assert_allclose(a[i], b, rtol=2e-6)  # measured 1.7e-7


def test_a_diverged_run_is_frozen_counted_and_leaves_its_neighbour_as_it_was():
    def pair(rates):
        return jax.jit(jax.vmap(lambda lr: train.run(TASK, optim.SGD(lr=lr), KEY)))(jnp.array(rates, jnp.float32))

    progress, _ = pair([0.1, jnp.inf])
    assert progress.diverged_at.tolist() == [0, 2]
    assert progress.step.tolist() == [12, 12]
    after_one, _ = train.run(small_task(steps=1, evaluate_every=1), optim.SGD(lr=jnp.float32(jnp.inf)), KEY)
    frozen = jax.tree.map(lambda a: a[1], progress.params)
    assert bits(frozen) == bits(after_one.params)
    healthy, _ = pair([0.1, 0.1])
    assert bits(jax.tree.map(lambda a: a[0], progress)) == bits(jax.tree.map(lambda a: a[0], healthy))


def test_divergence_in_the_last_step_shows_in_the_measurement_after_it():
    progress, _ = train.run(small_task(steps=1, evaluate_every=1), optim.SGD(lr=jnp.float32(jnp.inf)), KEY)
    assert int(progress.diverged_at) == 1


@pytest.mark.usefixtures("float64")
def test_the_gradient_with_respect_to_the_rate_agrees_with_finite_differences():
    task = small_task(model=nn.Sequential(nn.Dense(4), nn.relu, nn.Dense(2)))  # ReLU: units with a gradient of exactly 0
    rng = np.random.default_rng(1)
    arrays = {
        s: data.Split((jnp.asarray(rng.normal(size=(40, 3))),), jnp.asarray(rng.integers(0, 2, 40), jnp.int32))
        for s in ("train", "validation")
    }
    start = lambda o: train.start(task, o, KEY)

    def loss(lr):
        optimizer = optim.Adam(lr=lr)
        begun = start(optimizer)
        wide = jax.tree.map(lambda p: p.astype(jnp.float64), begun.params)
        begun = begun._replace(params=wide, optimizer_state=optimizer.init(wide))
        return train.segment(task, 6, optimizer, KEY, arrays, begun)[1]["validation"]["loss"]

    gradient = jax.jit(jax.grad(loss))(jnp.float64(0.01))
    step = 1e-6
    difference = (jax.jit(loss)(0.01 + step) - jax.jit(loss)(0.01 - step)) / (2 * step)
    np.testing.assert_allclose(gradient, difference, rtol=1e-8)  # measured 1e-10


def test_an_optax_optimizer_trains_as_the_fdl_one_does():
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(lambda k: train.run(TASK, optax.adam(1e-2), k))(KEY)[1]
    ours = run(optim.Adam(lr=1e-2), KEY)[1]
    np.testing.assert_allclose(ours["validation"]["loss"], theirs["validation"]["loss"], rtol=1e-5)  # measured 1.2e-6


@pytest.mark.parametrize("count", [1, 39, 40])
def test_evaluation_in_batches_is_the_mean_over_every_example(monkeypatch, count):
    monkeypatch.setattr("fdl.train._run.EVALUATION_BATCH", count)
    params, state = TASK.init(KEY)
    split = train.device_arrays(TASK.dataset, "test")["test"]
    measured = train.evaluate(TASK, params, state, split)
    whole, _ = TASK.measure(params, state, split)
    for name in whole:
        np.testing.assert_allclose(measured[name], whole[name], rtol=2e-6)  # measured 1.7e-7


def test_dropout_draws_anew_at_every_step():
    task = small_task(model=nn.Sequential(nn.Dense(64), nn.Dropout(0.5), nn.Dense(2)))
    params, state = task.init(KEY)
    batch = jax.tree.map(lambda a: a[:16], train.device_arrays(task.dataset, "train")["train"])
    drawn = [float(task.loss(params, state, batch, jax.random.fold_in(KEY, t))[0]) for t in range(3)]
    assert len(set(drawn)) == 3
