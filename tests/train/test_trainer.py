"""Runs driven from the host equal the pure function, alone and side by side."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from small import small_task

from fdl import data, nn, optim, train
from fdl.core import fold
from fdl.core._io import load_arrays

TASK = small_task()


def test_the_trainer_runs_what_the_pure_function_runs():
    trainer = train.Trainer(TASK)
    program = trainer.compile([optim.Adam()])
    *_, (progress, measured) = trainer.run(program, [optim.Adam(lr=0.03)], [5])
    pure, curves = train.run(TASK, optim.Adam(lr=0.03), jax.random.key(5))
    np.testing.assert_allclose(measured["validation"]["loss"][0], curves["validation"]["loss"][-1], rtol=1e-6)  # measured 0
    for a, b in zip(jax.tree.leaves(progress.params), jax.tree.leaves(pure.params)):
        np.testing.assert_allclose(a[0], b, atol=1e-6)  # measured 0
    tested = trainer.test([optim.Adam(lr=0.03)], progress)
    split = train.device_arrays(TASK.dataset, "test")["test"]
    np.testing.assert_allclose(tested["loss"][0], TASK.measure(pure.params, pure.state, split)[0]["loss"], rtol=1e-6)  # measured 0


def test_runs_of_a_chunk_equal_runs_alone():
    rates, seeds = [0.01, 0.1, 1.0], [3, 4, 5]
    optimizers = [optim.Momentum(lr=rate) for rate in rates]
    together = train.Trainer(TASK, chunk=3)
    *_, (_, mapped) = together.run(together.compile(optimizers), optimizers, seeds)
    alone = train.Trainer(TASK)
    program = alone.compile(optimizers[:1])
    for i, (optimizer, seed) in enumerate(zip(optimizers, seeds)):
        *_, (_, single) = alone.run(program, [optimizer], [seed])
        np.testing.assert_allclose(
            mapped["validation"]["loss"][i], single["validation"]["loss"][0], rtol=1e-5
        )  # measured 0; another CPU may take another kernel


@pytest.mark.parametrize("model", [None, nn.Sequential(nn.Conv(3, 3), nn.relu, nn.Flatten(), nn.Dense(2))])
def test_devices_that_share_a_chunk_train_what_one_does(model):
    rng = np.random.default_rng(0)
    split = data.Split((rng.normal(size=(40, 4, 4, 1)).astype("f"),), rng.integers(0, 2, 40))
    task = TASK if model is None else dataclasses.replace(TASK, dataset=data.Dataset("noise", split, split, split, 2), model=model)
    optimizers, seeds = [optim.Adam(lr=rate) for rate in np.logspace(-3, -1, 8)], list(range(8))

    def end(devices):
        trainer = train.Trainer(task, chunk=8, devices=devices)
        program = trainer.compile(optimizers)
        *_, (progress, measured) = trainer.run(program, optimizers, seeds)
        exchanged = {name for name in ("all-reduce", "all-gather", "collective-permute", "all-to-all") if name in program.as_text()}
        assert not exchanged, "trials are independent"
        return progress.params, measured, trainer.test(optimizers, progress)

    one, four = end(1), end(4)
    assert len(jax.tree.leaves(four[0])[0].sharding.device_set) == 4
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # measured 1e-6; other shapes may take other kernels


def test_structure_is_what_a_program_is_compiled_for():
    trainer = train.Trainer(TASK)
    program = trainer.compile([optim.Momentum()])
    with pytest.raises(TypeError):
        next(trainer.run(program, [optim.Momentum(nesterov=True)], [0]))


@optim.optimizer
class Start(optim.Optimizer):
    """Descends along a gradient taken a step ahead, by the loss; to be measured where it started."""

    lr: optim.Hyperparameter = 0.1

    def init(self, params):
        return params

    def update(self, grads, state, params=None, *, value=None, objective=None):
        ahead = jax.grad(objective)(jax.tree.map(lambda p, g: p - self.lr * g, params, grads))
        return jax.tree.map(lambda g: -self.lr * value * g, ahead), state

    def evaluation_params(self, state, params):
        return state


def test_an_optimizer_gets_loss_and_objective_and_is_measured_where_it_says():
    def by_hand(params, batch):
        value, grads = jax.value_and_grad(lambda p: TASK.loss(p, {}, batch, jax.random.key(0))[0])(params)
        ahead = jax.grad(lambda p: TASK.loss(p, {}, batch, jax.random.key(0))[0])(jax.tree.map(lambda p, g: p - 0.1 * g, params, grads))
        return jax.tree.map(lambda p, g: p - 0.1 * value * g, params, ahead)

    arrays = train.device_arrays(TASK.dataset, "train", "test")
    first, *_ = TASK.init(fold(jax.random.key(5), "init"))
    trainer = train.Trainer(TASK)
    indices = trainer._drawn((5,), 0)[0]
    want = first
    for index in indices:
        want = by_hand(want, jax.tree.map(lambda a, index=index: a[index], arrays["train"]))
    progress, measured = next(trainer.run(trainer.compile([Start()]), [Start()], [5]))
    for a, b in zip(jax.tree.leaves(progress.params), jax.tree.leaves(want)):
        np.testing.assert_allclose(a[0], b, atol=1e-6)  # measured 3e-8
    for a, b in zip(jax.tree.leaves(trainer.evaluation_params([Start()], progress)), jax.tree.leaves(first)):
        np.testing.assert_array_equal(a[0], b)
    untrained = TASK.measure(first, {}, arrays["test"])[0]["loss"]
    np.testing.assert_allclose(trainer.test([Start()], progress)["loss"][0], untrained, rtol=1e-6)  # measured 0
    assert measured["validation"]["loss"].shape == (1,)


def test_a_fit_is_saved_whole(tmp_path):
    fit = train.fit(TASK, optim.Adam(lr=0.03), seed=2, display=False)
    assert not fit.diverged
    assert [step for step, _ in fit.curves["validation", "accuracy"]] == [4, 8, 12]
    train.save(fit, tmp_path, {"task": "small", "seed": 2})
    tree, about = load_arrays(tmp_path / "params.safetensors")
    assert about == {"task": "small", "seed": 2}
    for a, b in zip(jax.tree.leaves(tree["params"]), jax.tree.leaves(fit.progress.params)):
        np.testing.assert_array_equal(a, b)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["test"] == fit.test
    assert record["diverged_at"] is None
    assert record["curves"][0]["values"][-1] == [12, fit.last(record["curves"][0]["split"], record["curves"][0]["metric"])]


def test_a_diverged_fit_says_so():
    assert train.fit(TASK, optim.SGD(lr=3e38), display=False).diverged
