"""One step from the same state equals optax's, in every dtype, for gradients of every size; and so does the first state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optimizers_table import CASES, KINDS
from teacher_forced import COUNTS, TOLERANCE, errors, gradients, precision, reference

from fdl import optim


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_step_from_the_same_state_equals_optax(case, dtype):
    with precision(dtype):
        worst = errors(case.ours, case, dtype)
    print(case, dtype, worst)
    assert max(worst.values()) <= TOLERANCE[dtype], worst


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_comparison_sees_every_update_and_slot_move(case, dtype):
    """Else equality would say nothing: optax's side holds no constant, and the dead coordinate is the only one at rest."""
    with precision(dtype):
        before, g, updates, after = reference(case, dtype)
        assert g.dtype == updates.dtype == dtype
    moved = np.abs(np.asarray(updates, np.float64)).max(axis=0) > 0
    dead = (np.asarray(g, np.float64) == 0).all(axis=0)
    assert dead.sum() == 1
    assert (moved == ~dead).all()
    for name in after:
        changed = (np.asarray(before[name], np.float64) != np.asarray(after[name], np.float64)).any(axis=0)
        # What is far below the state is lost in it: the start of Adagrad, and all of bfloat16.
        assert changed.sum() > 10, name


def test_the_gradients_are_the_hard_ones():
    g = gradients()
    sizes = np.abs(g[g != 0])
    assert sizes.min() < 1e-9
    assert sizes.max() > 1e3
    assert (np.abs(np.diff(np.log10(np.sort(sizes)))) < 1).all()  # no decade is missing
    assert ((g > 0).any(axis=0) == (g < 0).any(axis=0)).all()  # both signs wherever there is one
    assert (g == 0).mean() > 0.1
    assert {0, 1, 999_999} < set(COUNTS)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_bfloat16_is_float32_rounded_once(case):
    """Tighter than the comparison with optax, which rounds after each operation: the same bits as float32's update, rounded."""
    g = jnp.asarray(gradients()[:3], jnp.bfloat16)
    wide = g.astype(jnp.float32)

    @jax.jit
    def run(grads):
        step = lambda state, g: case.ours.update(g, state)[::-1]
        return jax.lax.scan(step, case.ours.init(grads[0]), grads)[::-1]

    (narrow, state), (exact, wide_state) = run(g), run(wide)
    assert narrow.dtype == jnp.bfloat16
    assert (np.asarray(narrow) == np.asarray(exact.astype(jnp.bfloat16))).all()
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and (a == b).all(), state, wide_state))


def test_the_millionth_step_of_adam_has_no_bias_left():
    g = jnp.asarray([1.0, -2.0])
    state = {"step": jnp.asarray(999_999), "m": jnp.zeros(2), "v": jnp.zeros(2)}
    update, after = optim.Adam(1.0, b1=0.5, b2=0.75, eps=1e-30).update(g, state)
    assert after["step"] == 1_000_000
    # 1 - 0.5^1e6 is exactly 1, so m_hat = 0.5 g and v_hat = 0.25 g^2: one step of 1. Measured error 0; 4 ulp of float32.
    np.testing.assert_allclose(update, [-1.0, 1.0], rtol=5e-7)
