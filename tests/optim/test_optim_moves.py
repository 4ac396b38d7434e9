"""A run of an optimizer made of others goes on in optax as it would have here, and comes back."""

import jax
import numpy as np
import optax
import pytest

from fdl import optim
from fdl.testing import optimizers, rules

BEFORE, AFTER = 7, 6
CASES = {case.name: case.ours for case in rules.wrapped.CASES if case.optax is not None}
RATE = optim.Linear(0.1, 20.0)
CASES |= {
    "nested": optim.IfFinite(
        optim.Chain(optim.ClipByGlobalNorm(2.0), optim.Groups({"bias": optim.SGD(0.05)}, rest=optim.Accumulate(optim.Adam(RATE), 2)))
    ),
    "optax within": optim.Chain(
        optim.from_optax(optax.adam, learning_rate=0.1), optim.Groups({"bias": optax.trace(0.5)}, rest=optim.Frozen())
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_moves_to_optax_and_back(name, float64, error):
    ours = CASES[name]

    def steps(optimizer, params, state, count):
        def step(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(optimizers.loss)(params)
            return optim.step(optimizer, grads, state, params, value=value, objective=optimizers.loss), None

        return jax.lax.scan(step, (params, state), length=count)[0]

    @jax.jit
    def all_of_it():
        theirs = optim.to_optax(ours)
        params = optimizers.start()
        here = steps(ours, params, ours.init(params), BEFORE)
        end = steps(ours, *here, AFTER)
        there = here[0], optim.state_to_optax(ours, here[1], here[0])
        moved, state = steps(theirs, *there, AFTER)
        whole, last = steps(theirs, params, theirs.init(params), BEFORE + AFTER)
        back = optim.state_from_optax(ours, last, whole, BEFORE + AFTER)
        return params, end, (moved, optim.state_from_optax(ours, state, moved, BEFORE + AFTER)), (whole, back), state, last

    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        start, end, moved, back, state, last = all_of_it()
    assert any((np.asarray(a) != b).any() for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(end[0])))
    assert jax.tree.structure(end) == jax.tree.structure(moved) == jax.tree.structure(back)
    assert jax.tree.structure(state) == jax.tree.structure(last)
    forms = lambda tree: [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]
    assert forms(end) == forms(moved) == forms(back)
    assert forms(state) == forms(last)
    known = lambda pair: [leaf for path, leaf in jax.tree.leaves_with_path(pair) if not jax.tree_util.keystr(path).endswith("['loss']")]
    assert error(known(moved), known(end)) <= 1e-13  # float64; worst measured 1e-15
    assert error(known(back), known(end)) <= 1e-13
