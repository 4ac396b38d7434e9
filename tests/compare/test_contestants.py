"""Contestants by name and from TOML: what is built, and what is refused with its place in the file."""

import textwrap

import jax
import jax.numpy as jnp
import optax
import pytest
from small import small_task

from fdl import FdlError, compare, optim
from fdl.compare import space

TASK = small_task()


def read(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(textwrap.dedent(text))
    return compare.from_toml(path, TASK)


def test_a_file_names_optimizers_spaces_schedules_and_tasks(tmp_path):
    made = read(
        tmp_path,
        """
        [contestants.plain]
        optimizer = "momentum"
        lr = { log = [1e-3, 1] }
        momentum = { uniform = [0, 0.99] }
        nesterov = { choice = [true, false] }

        [contestants."adam, cosine"]
        optimizer = "adam"
        lr = { schedule = "cosine", peak = { log = [1e-4, 0.1] }, warmup = 2 }
        task = { batch_size = 8, steps = 24 }

        [contestants.theirs]
        optimizer = "optax.sgd"
        learning_rate = { choice = [0.1, { schedule = "linear", peak = 0.2, steps = 5 }] }
        nesterov = true
        momentum = 0.9
        """,
    )
    assert made["plain"].optimizer == optim.Momentum(space.log(1e-3, 1), space.uniform(0, 0.99), space.choice(True, False))
    assert made["adam, cosine"].optimizer == optim.Adam(lr=optim.Cosine(space.log(1e-4, 0.1), 24, 2.0))
    assert (made["adam, cosine"].task.batch_size, made["adam, cosine"].task.steps) == (8, 24)
    assert made["plain"].task is None
    theirs = made["theirs"].optimizer
    grads, params = jnp.array([1.0, -2.0]), jnp.zeros(2)
    reference = optax.sgd(0.1, momentum=0.9, nesterov=True)
    (trial, _) = space.trials(theirs, 2, "grid")
    got, want = (o.update(grads, o.init(params), params)[0] for o in (trial, reference))
    assert jnp.array_equal(got, want)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contestants = 3", "expected [contestants.NAME] tables alone"),
        ("[contestants.a]\noptimizer = 'adam'\n[study]\nx = 1", "found the tables contestants, study"),
        ("[contestants.a]\nlr = 1", "contestant a: found 'a'; expected one of"),
        ("[contestants]\nadam = 1", 'contestant adam: found 1; expected a table with optimizer = "NAME"'),
        ("[contestants.a]\noptimizer = 'adm'", "Did you mean 'adam'?"),
        ("[contestants.a]\noptimizer = 'optax.adm'", "Did you mean 'adam'?"),
        ("[contestants.a]\noptimizer = 'adam'\nrate = 1", "contestant a: found 'rate'; expected one of "),
        ("[contestants.a]\noptimizer = 'adam'\nlr = { log = [1] }", "contestant a, lr: found {'log': [1]}"),
        ("[contestants.a]\noptimizer = 'adam'\nlr = { log = [1, 0.1] }", "the lower one first"),
        ("[contestants.a]\noptimizer = 'adam'\nlr = { schedule = 'cosin', peak = 1 }", "Did you mean 'cosine'?"),
        ("[contestants.a]\noptimizer = 'adam'\ntask = { batch = 3 }", "contestant a, task: found {'batch': 3}"),
        ("[contestants.a]\noptimizer = 'nowhere:thing'", "expected MODULE:NAME that can be imported"),
        ("[contestants.a\n", "expected a TOML file"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, message):
    with pytest.raises(FdlError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FdlError, match="No such file"):
        compare.from_toml(tmp_path / "none.toml", TASK)


def test_names_reach_classics_optax_and_a_users_own_module(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from fdl import optim\nfrom fdl.compare import space\nthing = optim.SGD(lr=space.log(1e-3, 1))\n")
    monkeypatch.chdir(tmp_path)
    assert compare.by_name("mine:thing") == optim.SGD(lr=space.log(1e-3, 1))
    assert compare.by_name("adam") == compare.classics["adam"]
    assert space.hyperparameters(compare.by_name("optax.lion")) == {"learning_rate": space.log(1e-5, 1e-1)}
    with pytest.raises(FdlError, match="Did you mean 'lion'"):
        compare.by_name("optax.lin")


def test_optax_competes_with_fdl_and_loses_nothing(tmp_path):
    # sgd: most of optax promotes dtypes in ways that the tests' strict mode refuses
    ours, theirs = optim.SGD(lr=space.log(1e-3, 1e-1)), optim.from_optax(optax.sgd, learning_rate=space.log(1e-3, 1e-1))
    sizes = {"trials": 2, "seeds": 1, "final_seeds": 2}
    study = compare.study(TASK, {"ours": ours, "theirs": theirs}, folder=tmp_path, display=False, **sizes)
    a, b = (study.select("tune", name)[1].curves["validation", "loss"] for name in ("ours", "theirs"))
    assert [value for _, value in a] == pytest.approx([value for _, value in b], abs=1e-6)


def test_other_batch_sizes_and_models_are_contestants_of_their_own(tmp_path):
    wide = small_task(batch_size=8, steps=24)
    contestants = {"16": optim.SGD(lr=space.log(0.1, 1)), "8": compare.Contestant(optim.SGD(lr=space.log(0.1, 1)), wide)}
    study = compare.study(TASK, contestants, folder=tmp_path, display=False, trials=2, seeds=1, final_seeds=2)
    assert study.select("final", "8")[0].curves["validation", "loss"][-1][0] == 24
    own = study.manifest["plan"]["contestants"]["8"]["task"]
    assert (own["batch_size"], own["steps"], "evaluate_every" in own) == (8, 24, False)
    half = compare.Contestant(optim.SGD(), small_task(batch_size=8))
    with pytest.raises(FdlError, match=r"unequal gradient evaluations a run \(a 192, b 96 examples\)"):
        compare.study(TASK, {"a": optim.SGD(), "b": half}, folder=tmp_path / "other", display=False)


def test_two_gradients_a_step_have_half_the_steps():
    class Twice(optim.SGD):
        gradients_per_step = 2

    jax.tree_util.register_static(Twice)
    plan = compare._plan.Plan(small_task(steps=24), compare._contestants.name_contestants({"a": optim.SGD(), "b": Twice()}), 2, 1, 2)
    assert {name: (t.steps, t.evaluate_every) for name, t in plan.tasks.items()} == {"a": (24, 4), "b": (12, 2)}
    assert plan.card()["contestants"]["b"]["gradients_per_step"] == 2


def test_a_contestant_is_the_optimizer_of_its_name_where_no_other_is_told(tmp_path):
    lion, slow = read(tmp_path, "[contestants.lion]\nlr = 0.5\n[contestants.slow]\noptimizer = 'lion'\nlr = 0.5").values()
    assert lion == slow
