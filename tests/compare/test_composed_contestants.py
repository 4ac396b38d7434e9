"""Optimizers within others compete: by name, from a file, searched at any depth, and counted for what they cost."""

import textwrap

import jax
import numpy as np
import optax
import pytest
from small import small_task

from fdl import FdlError, compare, optim, report
from fdl.compare import space
from fdl.compare._contestants import name_contestants
from fdl.compare._plan import Plan

CHAIN = optim.Chain(
    optim.ClipByGlobalNorm(space.log(0.1, 10)),
    optim.Groups({"bias": optim.SGD(space.log(1e-2, 1)), "*": optim.Momentum(0.1, nesterov=space.choice(False, True))}, rest=optim.Adam()),
)


@pytest.mark.parametrize("name", optim.named)
def test_every_named_optimizer_is_searched_over_four_decades_of_its_rate(name):
    made = compare.by_name(name)
    assert type(made) is optim.named[name]
    if hasattr(made, "lr"):
        assert len(space.searched(made)) == 1
        np.testing.assert_allclose(made.lr.high / made.lr.low, 1e4)
        assert made.lr.low < optim.named[name]().lr < made.lr.high
        assert space.defaults(made) == optim.named[name]()


def test_wrappers_are_named_with_what_is_within():
    rate = space.log(1e-5, 1e-1)
    assert compare.by_name("lookahead(adam)") == optim.Lookahead(optim.Adam(lr=rate))
    assert compare.by_name("averaged(sam(sgd))") == optim.Averaged(optim.SAM(optim.SGD(lr=space.log(1e-3, 10))))
    lion = space.trials(compare.by_name("lookahead(optax.lion)"), 3)
    np.testing.assert_allclose([trial.inner.hyperparameters["learning_rate"] for trial in lion], [1e-5, 1e-3, 1e-1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lookahead", "found 'lookahead'; expected an optimizer within it.\n  As in 'lookahead(adam)', with quotes in a shell."),
        ("lookahaed(adam)", "Did you mean 'lookahead'?"),
        ("lookahead(adma)", "found 'adma'; expected one of sgd, "),
        ("adam(sgd)", "found 'adam'; expected one of accumulate, "),
    ],
)
def test_a_name_that_is_none_is_told(name, message):
    with pytest.raises(FdlError) as caught:
        compare.by_name(name)
    assert message in str(caught.value)


def test_what_is_searched_may_stand_at_any_depth():
    assert [str(d) for d in space.searched(CHAIN)] == ["0.1 to 10, log", "0.01 to 1, log", "one of False, True"]
    drawn = space.trials(CHAIN, 8)
    assert len({(t.stages[0].limit, t.stages[1].groups["bias"].lr) for t in drawn}) == 8
    assert sum(t.stages[1].groups["*"].nesterov for t in drawn) == 4
    assert all(type(t) is optim.Chain and list(t.stages[1].groups) == ["bias", "*"] for t in drawn)
    named = space.hyperparameters(drawn[0])
    assert {"stages.0.limit", "stages.1.groups.bias.lr", "stages.1.rest.b1"} <= named.keys()
    assert named["stages.1"] == "Groups"
    assert named["stages.1.groups.*"] == "Momentum"
    assert named["stages.1.groups.*.nesterov"] in ("True", "False")


def test_the_default_of_what_is_within_is_its_own():
    default = space.defaults(CHAIN)
    assert default.stages[0] == optim.ClipByGlobalNorm()
    assert default.stages[1].groups["bias"] == optim.SGD()
    assert not default.stages[1].groups["*"].nesterov
    assert space.defaults(optim.Lookahead(optim.Adam(space.log(1e-3, 1)), k=3)) == optim.Lookahead(optim.Adam(), k=3)
    assert space.defaults(optim.Lookahead(optim.from_optax(optax.adam, learning_rate=space.log(1e-3, 1)))) is None
    assert space.defaults(optim.Lookahead(optim.Adam())) is None


def read(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(textwrap.dedent(text))
    return compare.from_toml(path, small_task())


def test_a_file_puts_optimizers_and_schedules_together(tmp_path):
    made = read(
        tmp_path,
        """
        [contestants.clipped]
        optimizer = "chain"
        stages = [
            { optimizer = "clipbyglobalnorm", limit = { log = [0.1, 10] } },
            { optimizer = "groups", groups = { bias = { optimizer = "sgd", lr = 0.1 } }, rest = { optimizer = "adam" } },
        ]

        [contestants.ahead]
        optimizer = "lookahead"
        k = 3
        inner = { optimizer = "optax.sgd", learning_rate = { log = [0.01, 1] }, momentum = 0.9 }

        [contestants.scheduled]
        optimizer = "sgd"
        [contestants.scheduled.lr]
        schedule = "warmup"
        warmup = 2
        after = { schedule = "piecewise", values = [{ log = [0.01, 1] }, 0.01], boundaries = [6], between = "linear" }

        [contestants.stable]
        optimizer = "sgd"
        lr = { schedule = "warmupstabledecay", peak = 0.1, cooldown = 0.5 }
        """,
    )
    adam = optim.Groups({"bias": optim.SGD(0.1)}, rest=optim.Adam())
    assert made["clipped"].optimizer == optim.Chain(optim.ClipByGlobalNorm(space.log(0.1, 10)), adam)
    assert made["ahead"].optimizer == optim.Lookahead(optim.from_optax(optax.sgd, learning_rate=space.log(0.01, 1), momentum=0.9), k=3)
    piecewise = optim.Piecewise((space.log(0.01, 1), 0.01), (6,), "linear")
    assert made["scheduled"].optimizer == optim.SGD(optim.Warmup(piecewise, 2))
    assert made["stable"].optimizer == optim.SGD(optim.WarmupStableDecay(0.1, 12, cooldown=0.5))
    for contestant in made.values():
        trial = space.trials(contestant.optimizer, 2)[0]
        jax.eval_shape(trial.init, {"bias": np.zeros(2, np.float32)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer = 'lookahead'", "contestant a: found no inner; expected inner = ..."),
        ("optimizer = 'lookahead'\ninner = { optimizer = 'adma' }", "contestant a, inner: found 'adma'"),
        ("optimizer = 'lookahead'\ninner = { optimizer = 'adam', rate = 1 }", "contestant a, inner: found 'rate'; expected one of lr, "),
        ("optimizer = 'chain'\nstages = [{ optimizer = 'sgd' }, { optimizer = 'sgdd' }]", "contestant a, stages.1: found 'sgdd'"),
        ("optimizer = 'adam'\nlr = { schedule = 'cosine' }", "contestant a, lr: found no peak; expected peak = ..."),
    ],
)
def test_a_mistake_within_is_named_with_its_place(tmp_path, text, message):
    with pytest.raises(FdlError) as caught:
        read(tmp_path, f"[contestants.a]\n{text}")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "every", "k", "expected"),
    [
        (24, 4, 2, (12, 2)),
        (340, 17, 2, (170, 10)),
        (255, 17, 2, (126, 9)),  # 127 is prime
        (200, 8, 1.1, (180, 6)),  # 181 is prime
        (12, 1, 2, (6, 1)),
        (4, 4, 3, (1, 1)),
    ],
)
def test_a_step_of_several_gradients_shortens_the_run(steps, every, k, expected):
    class Costly(optim.SGD):
        gradients_per_step = k

    jax.tree_util.register_static(Costly)
    plan = Plan(small_task(steps=steps, evaluate_every=every), name_contestants({"a": optim.SGD(), "b": Costly()}), 2, 1, 2)
    task = plan.tasks["b"]
    assert (task.steps, task.evaluate_every) == expected
    assert task.steps * k <= steps
    Costly.gradients_per_step = 5
    with pytest.raises(FdlError, match="task small, steps: found 4; expected 5 at least"):
        Plan(small_task(steps=4), name_contestants({"b": Costly()}), 2, 1, 2)


def test_a_study_counts_what_is_within(tmp_path):
    rate = space.log(0.01, 0.1)
    contestants = {
        "sgd": optim.SGD(rate),
        "sam": optim.SAM(optim.Momentum(rate)),
        "ahead": optim.Lookahead(optim.Adam(rate), 2),
        "chain": optim.Chain(optim.ClipByValue(), optim.Groups({"bias": optim.SGD(rate)}, rest=optax.sgd(0.1, 0.9))),
    }
    study = compare.study(small_task(), contestants, trials=2, seeds=1, final_seeds=2, folder=tmp_path, display=False)
    costs = study.manifest["costs"]
    assert {name: cost["gradients_per_step"] for name, cost in costs.items()} == {"sgd": 1, "sam": 2, "ahead": 1, "chain": 1}
    weights, biases, word = 3 * 4 + 4 * 2, 4 + 2, 4
    state = {
        "sgd": word,
        "sam": word * (weights + biases) + 2 * word,
        "ahead": 3 * word * (weights + biases) + 2 * word,
        "chain": word * weights + 2 * word,
    }
    assert {name: cost["state_bytes_per_parameter"] for name, cost in costs.items()} == {
        name: pytest.approx(size / (weights + biases)) for name, size in state.items()
    }
    assert study.select("final", "sam")[0].curves["validation", "loss"][-1][0] == 6
    assert study.default("ahead").hyperparameters["inner.lr"] == 1e-3
    page = report.write(study).read_text()
    assert "inner.lr" in page
