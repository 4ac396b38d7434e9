"""`nn.summary`: counts checked by hand, and nothing allocated."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fdl import nn

SMALL = nn.Sequential(nn.Conv(4, 3), nn.relu, nn.MaxPool(2), nn.Flatten(), nn.Dense(10))


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def test_the_table_of_a_small_network_is_this():
    lines = str(nn.summary(SMALL, shape(2, 8, 8, 3))).splitlines()
    assert lines == [
        "path         layer       output        params  bytes   FLOPs",
        "------------------------------------------------------------",
        "/conv_0      Conv        [2, 8, 8, 4]     112    448  28,160",
        "/max_pool_0  MaxPool     [2, 4, 4, 4]       0      0     384",
        "/flatten_0   Flatten     [2, 64]            0      0       0",
        "/dense_0     Dense       [2, 10]          650  2,600   2,580",
        "------------------------------------------------------------",
        "total        Sequential  [2, 10]          762  3,048  31,636",
    ]


def test_its_counts_are_those_by_hand():
    conv, pool, flatten, dense = nn.summary(SMALL, shape(2, 8, 8, 3)).rows
    outputs = 2 * 8 * 8 * 4
    assert conv.params == 3 * 3 * 3 * 4 + 4
    assert conv.flops == 2 * outputs * (3 * 3 * 3) + outputs  # products and sums, then the bias
    assert pool.flops == 2 * 4 * 8 * 4 + 2 * 4 * 4 * 4  # pairs of rows, then pairs of columns
    assert (flatten.params, flatten.flops) == (0, 0)
    assert (dense.params, dense.bytes) == (64 * 10 + 10, 4 * (64 * 10 + 10))
    assert dense.flops == 2 * (2 * 10) * 64 + 2 * 10
    total = nn.summary(SMALL, shape(2, 8, 8, 3)).total
    assert total.flops == conv.flops + outputs + pool.flops + dense.flops  # relu, a function, is in the total alone
    assert (total.params, total.bytes, total.shapes) == (762, 3048, "[2, 10]")


def test_bytes_follow_the_dtype():
    assert [nn.summary(nn.Dense(10), shape(1, 4, dtype=d)).total.bytes for d in (jnp.bfloat16, jnp.float32)] == [100, 200]


def test_flops_do_not_depend_on_the_convolution_s_form():
    rows = [nn.summary(nn.Conv(4, 3, form=form), shape(2, 8, 8, 3)).total.flops for form in ("canonical", "lax", "auto")]
    assert rows == [28160] * 3


def test_a_loop_s_body_counts_once_a_step():
    layer = nn.Recurrent(nn.RNN(3))
    step = 2 * (2 * 3) * (4 + 1) + 2 * (2 * 3) * 3 + 2 * (2 * 3)  # two products, one with the bias as a row; a sum and a tanh
    result = nn.summary(layer, shape(2, 5, 4))
    assert [(row.path, row.layer, row.flops) for row in result.rows] == [("/cell", "RNN", step)]
    assert result.total.flops == 5 * step
    assert result.total.params == 4 * 3 + 3 * 3 + 3


def test_parents_stand_before_their_children_and_include_them():
    model = nn.Sequential(nn.Residual(nn.Sequential(nn.Dense(3), nn.BatchNorm())), nn.Dense(2))
    result = nn.summary(model, shape(4, 3))
    paths = ["/residual_0", "/residual_0/body", "/residual_0/body/dense_0", "/residual_0/body/batch_norm_0", "/dense_0"]
    assert [row.path for row in result.rows] == paths
    assert [row.params for row in result.rows] == [18, 18, 12, 6, 8]
    assert result.total.params == 26


def test_shared_weights_count_once():
    @dataclass(frozen=True)
    class Twice(nn.Layer):
        def forward(self, scope, x):
            return scope(nn.Dense(3), scope(nn.Dense(3), x, name="tied"), name="tied")

    result = nn.summary(Twice(), shape(2, 3))
    assert [row.params for row in result.rows] == [12, 12]
    assert result.total.params == 12
    assert result.total.flops == 2 * result.rows[0].flops


def test_layers_with_options_and_several_outputs_are_counted_as_they_were_called():
    @dataclass(frozen=True)
    class Pair(nn.Layer):
        def forward(self, scope, x, *, features, lengths):
            return scope(nn.Dense(features), x), lengths + 1

    @dataclass(frozen=True)
    class Outer(nn.Layer):
        def forward(self, scope, x, lengths):
            return scope(Pair(), x, features=7, lengths=lengths)

    result = nn.summary(Outer(), shape(2, 3), shape(2, dtype=jnp.int32))
    assert [(row.path, row.shapes, row.params) for row in result.rows] == [("/pair_0", "[2, 7] [2]", 28), ("/pair_0/dense_0", "[2, 7]", 28)]
    assert result.rows[0].flops == result.rows[1].flops + 2


def test_nothing_is_allocated():
    def tracing(key, shape, dtype):
        assert isinstance(key, jax.core.Tracer), "weights were made"
        return jnp.zeros(shape, dtype)

    before = {id(a) for a in jax.live_arrays()}
    result = nn.summary(nn.Sequential(nn.Dense(40_000, kernel_init=tracing)), shape(1, 40_000))
    assert not [a for a in jax.live_arrays() if id(a) not in before and a.size > 2]  # a key's two words at most
    assert (result.total.params, result.total.bytes) == (40_000 * 40_001, 4 * 40_000 * 40_001)
    assert result.total.flops == 2 * 40_000**2 + 40_000
    assert str(result).splitlines()[2] == "/dense_0  Dense       [1, 40000]  1,600,040,000  6,400,160,000  3,200,040,000"


def test_dropout_is_counted_while_training_without_a_key():
    result = nn.summary(nn.Sequential(nn.Dropout(0.5)), shape(2, 8))
    assert result.total.flops >= 2 * 2 * 8  # a division and a choice for each element
