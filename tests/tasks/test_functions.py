"""Tasks from plain functions: trained as by hand, deterministic, and every mistake told before anything is trained."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import FdlError, compare, data, optim, tasks, train
from fdl.compare import space
from fdl.core import fold

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
DATA = {"x": X, "y": X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=50)}
START = {"w": np.zeros(3), "b": 0.5}


def mean_square(params, batch):
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2)


def absolute(params, batch):
    return jnp.abs(batch["x"] @ params["w"] + params["b"] - batch["y"]).mean()


def make(loss_fn=mean_square, params=START, data=DATA, **changes):
    return tasks.from_loss("mine", loss_fn, params, data, **{"batch_size": 8, "steps": 40, **changes})


def message(**changes):
    with pytest.raises(FdlError) as caught:
        make(**changes)
    return str(caught.value)


def test_training_equals_a_hand_written_loop():
    task, optimizer, key = make(evaluate_every=10), optim.Adam(lr=0.03), jax.random.key(3)
    final, measured = jax.jit(lambda k: train.run(task, optimizer, k))(key)
    arrays = jax.tree.map(jnp.float32, task.dataset.train)
    params = {"w": jnp.zeros(3), "b": jnp.float32(0.5)}
    slots = optimizer.init(params)
    gradient, update = jax.jit(jax.grad(mean_square)), jax.jit(optimizer.update)
    for rows in data.batch_indices(fold(key, "batches"), 30, 8, 0, 40):
        updates, slots = update(gradient(params, {name: array[rows] for name, array in arrays.items()}), slots, params)
        params = optim.apply_updates(params, updates)
    for name in params:
        np.testing.assert_allclose(final.params[name], params[name], rtol=1e-5)  # measured 7.5e-7
    whole = mean_square(params, jax.tree.map(jnp.float32, task.dataset.validation))
    np.testing.assert_allclose(measured["validation"]["loss"][-1], whole, rtol=1e-5)  # measured 1e-6


@pytest.mark.usefixtures("float64")
def test_gradient_descent_on_whole_batches_equals_numpy():
    task = make(batch_size=30, steps=25, validation=DATA, test=DATA, data=jax.tree.map(lambda a: a[:30], DATA))
    final, _ = train.run(task, optim.SGD(lr=0.1), jax.random.key(0))
    design = np.hstack([X[:30], np.ones((30, 1))])
    theta = np.array([0, 0, 0, 0.5])
    for _ in range(25):
        theta = theta - 0.1 * 2 / 30 * design.T @ (design @ theta - DATA["y"][:30])
    got = np.append(final.params["w"], final.params["b"])
    np.testing.assert_allclose(got, theta, rtol=1e-12)  # measured 8e-16


def test_a_whole_study_of_plain_functions(tmp_path):
    task = make(metrics={"absolute": absolute}, objective="absolute")
    contestants = {"sgd": optim.SGD(lr=space.log(1e-3, 1e-1)), "adam": optim.Adam(lr=space.log(1e-3, 1e-1))}
    study = compare.study(task, contestants, trials=2, seeds=2, final_seeds=2, folder=tmp_path, display=False)
    assert study.task["model"][0].startswith("mean_square, program ")
    assert study.task["model"][1:] == ["params['b'] float32[]", "params['w'] float32[3]"]
    assert study.task["parameters"] == 4
    assert {metric for _, metric in study.runs[0].curves} == {"loss", "absolute"}
    assert study.headline()
    again = compare.study(make(metrics={"absolute": absolute}, objective="absolute"), contestants, trials=2, seeds=2, final_seeds=2,
                          folder=tmp_path, display=False)  # fmt: skip
    assert len(again.runs) == len(study.runs), "the same functions are the same study"
    other = make(lambda p, b: mean_square(p, b) + 1e-3 * (p["w"] ** 2).sum(), metrics={"absolute": absolute}, objective="absolute")
    with pytest.raises(FdlError, match="another study"):
        compare.study(other, contestants, trials=2, seeds=2, final_seeds=2, folder=tmp_path, display=False)


@pytest.mark.parametrize(
    ("batch", "loss_fn"),
    [
        (X, lambda w, x: jnp.square(x @ w["w"] - 1).mean()),
        ((X, DATA["y"]), lambda w, b: jnp.square(b[0] @ w["w"] - b[1]).mean()),
        ({"in": {"x": X}, "n": np.arange(50)}, lambda w, b: (b["in"]["x"] @ w["w"] * b["n"]).mean()),
        (data.Split((X,), DATA["y"]), lambda w, b: jnp.square(b.inputs[0] @ w["w"] - b.labels).mean()),
    ],
    ids=["array", "tuple", "nested", "Split"],
)
def test_a_batch_may_be_any_pytree(batch, loss_fn):
    with jax.numpy_dtype_promotion("standard"):
        task = make(loss_fn, data=batch)
        final, _ = jax.jit(lambda k: train.run(task, optim.SGD(lr=1e-3), k))(jax.random.key(0))
    assert np.isfinite(final.params["w"]).all()
    assert final.params["w"].any()


def test_params_from_a_function_differ_by_seed_and_repeat():
    task = make(params=lambda key: {"w": jax.random.normal(key, 3), "b": jnp.zeros(())})
    first, again, other = (task.init(jax.random.key(seed))[0]["w"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_loss_that_draws_is_given_another_key_at_every_step_and_none_where_measured():
    def noisy(params, batch, *, key):
        assert (key is None) or jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        return mean_square(params, batch) + (0.0 if key is None else jax.random.normal(key))

    task = make(noisy, evaluate_every=1)
    _, measured = train.run(task, optim.SGD(lr=1e-30), jax.random.key(0))
    plain = mean_square(*jax.tree.map(jnp.float32, (START, task.dataset.validation)))
    np.testing.assert_allclose(measured["validation"]["loss"], plain, rtol=1e-6)  # measured 0
    _, without = train.run(make(evaluate_every=1), optim.SGD(lr=1e-30), jax.random.key(0))
    drawn = measured["train"]["loss"] - without["train"]["loss"]
    assert len(np.unique(drawn.round(4))) == 40


def test_missing_splits_are_split_off_once_and_say_so():
    task = make(data={"n": np.arange(53)}, loss_fn=lambda p, b: (p["b"] * b["n"].astype(jnp.float32)).mean())
    parts = [getattr(task.dataset, split)["n"] for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [33, 10, 10]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(53))
    assert task.dataset.source.endswith("; validation and test: a fifth of train each, by a fixed permutation")
    given = make(test=DATA)
    assert task.card()["examples"] == {"train": 33, "validation": 10, "test": 10}
    assert given.card()["examples"] == {"train": 40, "validation": 10, "test": 50}
    assert given.dataset.source.endswith("; validation: a fifth of train, by a fixed permutation")
    assert "fifth" not in make(validation=DATA, test=DATA).dataset.source


def test_the_card_tells_functions_constants_and_data_apart():
    card = make().card()
    assert json.loads(json.dumps(card)) == card == make().card()
    scale = [np.float32(v) * np.ones(50, np.float32) for v in (1, 2)]
    closed = [make(lambda p, b, s=s: mean_square(p, b) * s.mean()).card()["model"][0] for s in scale]
    assert len({card["model"][0], *closed}) == 3
    assert make(data={**DATA, "y": DATA["y"] + 1}).card()["crc32"] != card["crc32"]


def test_a_task_of_local_functions_reaches_another_process():
    cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle, which takes tasks to other processes, is not installed")
    task, key = make(lambda p, b: mean_square(p, b) + 1.0, metrics={"m": lambda p, b: absolute(p, b)}), jax.random.key(0)
    read = cloudpickle.loads(cloudpickle.dumps(task))
    assert read.card() == task.card()
    assert read.measure(START, {}, task.dataset.test)[0]["loss"] == task.measure(START, {}, task.dataset.test)[0]["loss"]
    landscape = cloudpickle.loads(cloudpickle.dumps(tasks.get("beale")))
    assert np.array_equal(landscape.init(key)[0], tasks.get("beale").init(key)[0])


def test_flops_are_counted_by_hand():
    # w x: 2 * 3 * 8; + b, - y, squared (integer_pow), each 8; the sum over 8 and its division
    assert make().flops() == 48 + 3 * 8 + 8 + 1


@pytest.mark.parametrize(("steps", "every"), [(40, 2), (1000, 50), (30, 1), (47, 1), (1, 1)])
def test_runs_are_measured_about_twenty_times_where_nothing_is_said(steps, every):
    task = make(steps=steps)
    assert task.evaluate_every == every
    assert dataclasses.replace(task, steps=2 * steps).evaluate_every == every


def test_another_librarys_callable_module_is_a_pytree_of_parameters():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Module:
        w: jax.Array

        def __call__(self, x):
            return x @ self.w

    task = make(lambda module, b: jnp.square(module(b["x"]) - b["y"]).mean(), Module(jnp.ones(3)))
    assert task.init(jax.random.key(0))[0].w.shape == (3,)


BAD = {
    "vector": ({"loss_fn": lambda p, b: b["x"] @ p["w"]}, "task mine, loss_fn: found an array of shape [8]; expected one scalar, of shape [].\n  Take the mean over the batch."),
    "tuple": ({"loss_fn": lambda p, b: (0.0, 1)}, "task mine, loss_fn: found a tuple; expected one scalar.\n  Return the loss alone; what else is to be measured is a metric."),
    "nothing": ({"loss_fn": lambda p, b: None}, "task mine, loss_fn: found nothing returned; expected one scalar."),
    "integer loss": ({"loss_fn": lambda p, b: b["x"].shape[0]}, "task mine, loss_fn: found dtype int32; expected a floating dtype.\n  A loss has to have a gradient."),
    "shapes that do not fit": (
        {"loss_fn": lambda p, b: (p["w"] @ b["x"]).mean()},
        "; expected a scalar for params {'b': float32[], 'w': float32[3]} and batch {'x': float32[8, 3], 'y': float32[8]}.",
    ),
    "names that do not fit": ({"loss_fn": lambda p, b: b["z"].mean()}, "task mine, loss_fn: found KeyError: 'z'; expected a scalar for params"),
    "a batch size in the loss": ({"loss_fn": lambda p, b: b["x"].reshape(8, 3).mean() * p["b"]}, "task mine, loss_fn on validation: found TypeError: "),
    "NumPy inside": ({"loss_fn": lambda p, b: np.mean(b["x"] @ np.asarray(p["w"]))}, "task mine, loss_fn: found TracerArrayConversionError: "),
    "metric": ({"metrics": {"all": lambda p, b: b["y"]}}, "task mine, metric all: found an array of shape [8]; expected one scalar"),
    "metric count": ({"metrics": {"count": lambda p, b: (b["y"] > 0).sum()}}, "task mine, metric count: found dtype int32; expected a floating dtype"),
    "metric loss": ({"metrics": {"loss": absolute}}, "task mine, metrics: found 'loss'; expected another name"),
    "integer params": ({"params": {"w": np.arange(3), "b": 0.5}}, "task mine, params['w']: found int32[3]; expected a floating dtype.\n  Gradients move what is in params: keep constants outside, in the loss function."),
    "no params": ({"params": {}}, "task mine, params: found {}; expected at least one array."),
    "params of text": ({"params": {"w": "zeros"}}, "task mine, params: found TypeError: "),
    "params not finite": ({"params": {"w": np.array([0, np.inf, 0]), "b": 0.5}}, "task mine, at the start: found inf in params['w']; expected finite values."),
    "loss not finite": ({"loss_fn": lambda p, b: jnp.log(p["b"] - 1)}, "task mine, at the start: found nan in loss; expected finite values."),
    "gradient not finite": ({"loss_fn": lambda p, b: jnp.sqrt(p["w"] ** 2).sum()}, "task mine, at the start: found nan in gradient of params['w']; expected finite values."),
    "data not finite": ({"data": {**DATA, "y": np.where(np.arange(50) == 7, np.nan, 0)}}, "task mine, train, array ['y']: found nan at row 7 (1 such); expected finite values."),
    "data unequal": ({"data": {**DATA, "y": DATA["y"][1:]}}, "task mine, train, array ['y']: found 49 rows; expected 50, as many as array ['x']."),
    "data of lists": ({"data": {"x": [[1, 2], [3, 4]]}}, "task mine, train, array ['x'][0][0]: found array(1); expected an array with examples along its first axis."),
    "data of text": ({"data": {**DATA, "x": np.full((50, 3), "a")}}, "task mine, train, array ['x']: found dtype <U1; expected numbers."),
    "other structure": ({"test": {"x": X}}, "task mine, test: found {'x': float32[50, 3]}; expected the structure of train, {'x': float32[50, 3], 'y': float32[50]}."),
    "too few to split": ({"data": {name: array[:4] for name, array in DATA.items()}}, "task mine, train: found 4 examples; expected at least 5, to split off validation and test.\n  Give validation and test."),
    "batch": ({"batch_size": 31}, "task mine, batch_size: found 31; expected at most the 30 training examples."),
    "steps": ({"steps": 0}, "task mine, steps: found 0; expected a positive whole number."),
    "steps that are no number": ({"steps": "40"}, "task mine, steps: found '40'; expected a positive whole number."),
    "no evaluation": ({"evaluate_every": 0}, "task mine, evaluate_every: found 0; expected a positive whole number."),
    "evaluation": ({"evaluate_every": 7}, "task mine, evaluate_every: found 7; expected a divisor of steps, 40."),
    "objective": ({"objective": "accuracy"}, "task mine, objective: found 'accuracy'; expected one of loss."),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_message(case):
    changes, expected = BAD[case]
    assert expected in message(**changes)
