"""Parameter groups: each leaf has one optimizer, which sees and remembers its own leaves alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdl import FdlError, optim


def params(dtype=None):
    draw = lambda *shape: jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)
    return {
        "embedding_0": {"table": draw(5, 3)},
        "dense_0": {"kernel": draw(3, 4), "bias": draw(4)},
        "dense_1": {"kernel": draw(4, 2), "bias": draw(2)},
    }


def loss(p):
    x = p["embedding_0"]["table"]
    for name in ("dense_0", "dense_1"):
        x = jnp.tanh(x @ p[name]["kernel"] + p[name]["bias"][None])
    return ((x - 1) ** 2).sum()


def train(optimizer, steps=8):
    def step(carry, _):
        p, state = carry
        value, grads = jax.value_and_grad(loss)(p)
        return optim.step(optimizer, grads, state, p, value=value, objective=loss), None

    return jax.lax.scan(step, (params(), optimizer.init(params())), length=steps)[0]


THREE = optim.Groups({"*/bias": optim.SGD(0.05), "embedding_*": optim.Frozen(), "dense_1/*": optim.Momentum(0.02)}, rest=optim.Adam(0.03))
LABELS = {
    "embedding_0": {"table": "frozen"},
    "dense_0": {"kernel": "rest", "bias": "bias"},
    "dense_1": {"kernel": "last", "bias": "bias"},
}


def test_the_first_pattern_wins_as_in_optax_partition(float64, error):
    theirs = optax.partition(
        {"bias": optax.sgd(0.05), "last": optax.sgd(0.02, 0.9), "frozen": optax.set_to_zero(), "rest": optax.adam(0.03)}, LABELS
    )
    ours, _ = jax.jit(train)(THREE)
    with jax.numpy_dtype_promotion("standard"):
        expected, _ = jax.jit(train, static_argnums=0)(theirs)
    assert error(ours, expected) <= 1e-14  # measured 2.8e-16
    assert (ours["embedding_0"]["table"] == params()["embedding_0"]["table"]).all()


def test_each_keeps_state_for_its_leaves_alone():
    _, frozen, last, rest = THREE.init(params())
    assert [leaf.shape for leaf in jax.tree.leaves(last["b"])] == [(4, 2)]
    assert [leaf.shape for leaf in jax.tree.leaves((rest["m"], rest["v"]))] == [(3, 4), (3, 4)]
    assert jax.tree.leaves(frozen) == [0]


def test_it_keeps_the_order_of_its_patterns_through_tree_operations():
    patterns = [*THREE.groups]
    assert patterns != sorted(patterns)
    for same in (jax.tree.map(lambda x: x, THREE), jax.jit(lambda o: o)(THREE), dataclasses.replace(THREE, rest=optim.SGD())):
        assert [*same.groups] == patterns


def test_mapped_over_its_rates_it_is_a_loop(float64, error):
    many = [jax.tree.map(lambda x, s=s: jnp.asarray(x * s), THREE) for s in (1.0, 0.5)]
    swept, _ = jax.jit(jax.vmap(train))(jax.tree.map(lambda *x: jnp.stack(x), *many))
    looped = jax.tree.map(lambda *x: jnp.stack(x), *[jax.jit(train)(one)[0] for one in many])
    assert error(swept, looped) <= 1e-14


def test_what_needs_the_loss_elsewhere_gets_it_as_a_function_of_its_leaves(float64, error):
    """SAM in a group perturbs the group alone."""
    only = optim.Groups({"dense_0/*": optim.SAM(optim.SGD(0.1), rho=0.1)}, rest=optim.Frozen())
    assert only.gradients_per_step == 2
    p, sam = params(), optim.SAM(optim.SGD(0.1), rho=0.1)
    part = p["dense_0"]
    inner = lambda part: loss(p | {"dense_0": part})
    expected, _ = optim.step(sam, jax.grad(inner)(part), sam.init(part), part, value=inner(part), objective=inner)
    assert error(train(only, 1)[0], p | {"dense_0": expected}) <= 1e-14


def test_what_is_measured_is_of_each_group():
    both = optim.Groups({"*/bias": optim.Lookahead(optim.SGD(0.1), k=100)}, rest=optim.SGD(0.1))
    p, state = jax.jit(train)(both)
    measured = both.evaluation_params(state, p)
    assert (measured["dense_0"]["bias"] == params()["dense_0"]["bias"]).all()
    assert (measured["dense_0"]["kernel"] == p["dense_0"]["kernel"]).all()
    assert (p["dense_0"]["bias"] != params()["dense_0"]["bias"]).all()


def test_groups_of_optax_and_groups_in_optax(float64, error):
    mixed = optim.Groups({"*/bias": optax.sgd(0.05)}, rest=optim.Adam(0.03))
    chained = optax.chain(optax.clip(0.1), optim.Groups({"*/bias": optim.SGD(0.05)}, rest=optax.adam(0.03)))
    clipped = optim.Chain(optim.ClipByValue(0.1), mixed)
    with jax.numpy_dtype_promotion("standard"):
        run = lambda o: jax.jit(train, static_argnums=0)(optim.as_pytree(o))[0]
        assert error(run(chained), run(clipped)) <= 1e-14


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"*/biases": optim.SGD()},
            "group '*/biases': found '*/biases'; expected a pattern of a path that is there.\n  The nearest are /dense_1/bias, /dense_0/bias, /dense_1/kernel.",
        ),
        (
            {"dense_*": optim.SGD(), "dense_?/*": optim.SGD()},
            "group 'dense_?/*': found 'dense_?/*'; expected a pattern of a path that the groups before it leave.\n"
            "  'dense_*' comes before it and takes /dense_0/bias, /dense_0/kernel, /dense_1/bias, ....",
        ),
        (
            {"dense_?/*": optim.SGD(), "dense_0/kernel": optim.Adam()},
            "group 'dense_0/kernel': found 'dense_0/kernel'; expected a pattern of a path that the groups before it leave.\n"
            "  'dense_?/*' comes before it and takes /dense_0/kernel.",
        ),
    ],
)
def test_a_pattern_of_nothing_or_of_nothing_new_is_told(groups, message):
    with pytest.raises(FdlError) as caught:
        optim.Groups(groups, rest=optim.SGD()).init(params())
    assert message in str(caught.value)


def test_a_class_in_the_place_of_an_optimizer_is_told():
    with pytest.raises(FdlError, match=r"found the class Adam; expected an optimizer.\n  Did you mean Adam\(\)\?"):
        optim.Groups({"*/bias": optim.SGD()}, rest=optim.Adam)
