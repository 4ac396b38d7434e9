"""Batches: each example once in an epoch, in an order of (key, epoch) alone."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdl.data import batch_indices

SIZES = [(10, 3), (10, 10), (7, 5), (12, 4)]


@pytest.mark.parametrize(("examples", "batch"), SIZES)
def test_each_example_comes_exactly_once_in_every_epoch(examples, batch):
    row = np.asarray(batch_indices(jax.random.key(0), examples, batch, 0, 40)).ravel()
    epochs = len(row) // examples
    assert epochs >= 12
    for epoch in range(epochs):
        assert sorted(row[epoch * examples : (epoch + 1) * examples]) == list(range(examples))


@given(st.sampled_from(SIZES), st.integers(0, 40), st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_run_cut_anywhere_sees_the_same_batches(sizes, cut, seed):
    examples, batch = sizes
    key = jax.random.key(seed)
    whole = np.asarray(batch_indices(key, examples, batch, 0, 48))
    part = np.asarray(jax.jit(batch_indices, static_argnums=(1, 2, 4))(key, examples, batch, cut, 8))
    np.testing.assert_array_equal(part, whole[cut : cut + 8])


def test_the_order_depends_on_the_epoch_and_on_the_key():
    def epochs(seed):
        return np.asarray(batch_indices(jax.random.key(seed), 100, 100, 0, 3))

    assert not np.array_equal(epochs(0)[0], epochs(0)[1])
    assert not np.array_equal(epochs(0)[0], epochs(1)[0])
    np.testing.assert_array_equal(epochs(0), epochs(0))


def test_steps_whose_examples_outnumber_int32_still_draw_whole_epochs():
    step = 2**31 - 1 - 20  # times the batch size this leaves int32
    examples, batch = 7, 5
    row = np.asarray(batch_indices(jax.random.key(0), examples, batch, step, 14)).ravel()
    start = -step * batch % examples  # where the next epoch begins
    for epoch in range(8):
        assert sorted(row[start + epoch * examples : start + (epoch + 1) * examples]) == list(range(examples))
