"""`nn.summary`: counts checked by hand, and nothing allocated."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

from fdl import nn, ops

SMALL = nn.Sequential(nn.Conv(4, 3), nn.relu, nn.MaxPool(2), nn.Flatten(), nn.Dense(10))


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def test_the_table_of_a_small_network_is_this():
    lines = str(nn.summary(SMALL, shape(2, 8, 8, 3))).splitlines()
    assert lines == [
        "path         layer       output        params  bytes   FLOPs  backward",
        "----------------------------------------------------------------------",
        "/conv_0      Conv        [2, 8, 8, 4]     112    448  28,160    55,808",
        "/max_pool_0  MaxPool     [2, 4, 4, 4]       0      0     384     1,920",
        "/flatten_0   Flatten     [2, 64]            0      0       0         0",
        "/dense_0     Dense       [2, 10]          650  2,600   2,580     5,140",
        "----------------------------------------------------------------------",
        "total        Sequential  [2, 10]          762  3,048  31,636    63,892",
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
    assert str(result).splitlines()[2] == "/dense_0  Dense       [1, 40000]  1,600,040,000  6,400,160,000  3,200,040,000  6,400,000,000"


def test_dropout_is_counted_while_training_without_a_key():
    result = nn.summary(nn.Sequential(nn.Dropout(0.5)), shape(2, 8))
    assert result.total.flops >= 2 * 2 * 8  # a division and a choice for each element


# The backward pass.


@pytest.mark.parametrize("channels", [3, 16, 64], ids=["blocks", "canonical", "winograd"])
def test_a_convolution_s_gradients_cost_twice_its_forward_pass_in_every_form(channels):
    x, products = shape(2, 14, 14, channels), 2 * 2 * 14 * 14 * 64 * 9 * channels
    bias = 2 * 14 * 14 * 64
    for form in ("auto", "canonical", "lax"):
        total = nn.summary(nn.Conv(64, 3, form=form), x).total
        assert total.flops == products + bias
        assert total.backward == 2 * products + bias  # of kernel and input, and the sum that is the bias's


def test_zeros_between_strides_are_not_counted():
    for form in ("canonical", "lax"):
        total = nn.summary(nn.Conv(4, 2, 2, form=form, bias=False), shape(1, 8, 8, 3)).total
        assert total.backward == 2 * total.flops == 2 * (2 * 4 * 4 * 4) * (2 * 2 * 3)


CONVOLUTIONS = {  # x, kernel, groups, strides, form, and the products by hand: outputs x window x channels of a group
    "blocks": ((2, 7, 7, 3), (3, 3, 3, 16), 1, 1, "auto", (2 * 7 * 7 * 16) * 9 * 3),
    "winograd": ((2, 9, 10, 32), (3, 3, 32, 32), 1, 1, "auto", (2 * 9 * 10 * 32) * 9 * 32),
    "canonical": ((2, 8, 8, 8), (3, 3, 8, 16), 1, 2, "auto", (2 * 4 * 4 * 16) * 9 * 8),
    "groups": ((2, 8, 8, 8), (3, 3, 4, 16), 2, 1, "auto", (2 * 8 * 8 * 16) * 9 * 4),
    "bundles": ((2, 8, 8, 32), (3, 3, 2, 32), 16, 1, "auto", (2 * 8 * 8 * 32) * 9 * 2),
    "bundles of blocks": ((2, 8, 7, 32), (3, 3, 2, 32), 16, 1, "blocks", (2 * 8 * 7 * 32) * 9 * 2),
    "shifts": ((2, 8, 8, 8), (3, 3, 1, 8), 8, 2, "auto", (2 * 4 * 4 * 8) * 9),
    "three axes": ((2, 4, 6, 6, 6), (3, 3, 3, 6, 8), 1, 1, "auto", (2 * 4 * 6 * 6 * 8) * 27 * 6),
    "lax by groups": ((2, 8, 8, 8), (3, 3, 4, 16), 2, 2, "lax", (2 * 4 * 4 * 16) * 9 * 4),
}
TRANSPOSED = {  # every input meets the window once
    "transposed": ((2, 4, 4, 6), (3, 3, 6, 8), 1, 2, None, (2 * 4 * 4 * 6) * 9 * 8),
    "transposed, by groups": ((2, 4, 4, 6), (3, 3, 3, 8), 2, 2, None, (2 * 4 * 4 * 6) * 9 * 4),
}


@pytest.mark.parametrize(
    ("x", "kernel", "groups", "strides", "form", "products"),
    [*CONVOLUTIONS.values(), *TRANSPOSED.values()],
    ids=[*CONVOLUTIONS, *TRANSPOSED],
)
def test_a_convolution_and_its_gradients_count_by_hand_under_every_transformation(x, kernel, groups, strides, form, products):
    transposed = lambda x, w: ops.conv_transpose(x, w, strides, groups=groups)
    conv = transposed if form is None else lambda x, w: ops.conv(x, w, strides, groups=groups, form=form)
    x, w = shape(*x), shape(*kernel)
    y = jax.eval_shape(conv, x, w)
    pull = lambda x, w, dy: jax.vjp(conv, x, w)[1](dy)
    first, last = (lambda a: shape(3, *a.shape)), (lambda a: shape(*a.shape, 3))
    both = jax.grad(lambda x, w: jax.vmap(conv)(x, w).sum(), (0, 1))
    for convolutions, function, *args in (
        (1, conv, x, w),
        (3, pull, x, w, y),
        (2, lambda x, w, dy: jax.vjp(lambda x: conv(x, w), x)[1](dy), x, w, y),
        (2, lambda x, w, dy: jax.vjp(lambda w: conv(x, w), w)[1](dy), x, w, y),
        (3, lambda x, w: jax.jvp(conv, (x, w), (x, w)), x, w),
        (3, jax.vmap(conv), first(x), first(w)),
        (9, jax.vmap(pull), first(x), first(w), first(y)),
        (9, jax.vmap(pull, (0, None, 0)), first(x), w, first(y)),
        (9, jax.vmap(pull, (None, 0, 0)), x, first(w), first(y)),
        (9, jax.vmap(pull, -1), last(x), last(w), last(y)),
        (9, both, first(x), first(w)),
        (27, jax.vmap(both), shape(3, *first(x).shape), shape(3, *first(w).shape)),
    ):
        rest = nn.flops(function, *args) - convolutions * 2 * products
        assert 0 <= rest <= convolutions * (x.size + w.size + y.size), convolutions  # sums of pieces, and of what `sum` adds


def test_what_has_no_gradient_says_so():
    def until(x):
        return jax.lax.while_loop(lambda x: x.sum() < 10, lambda x: x + 1, x)

    total = nn.summary(until, shape(3)).total
    assert total.backward is None
    assert str(nn.summary(until, shape(3))).splitlines()[-1].endswith("-")
    assert nn.summary(lambda n: n + 1, shape(3, dtype=jnp.int32)).total.backward == 0


def test_a_wrapper_is_shown_with_what_it_wraps():
    model = nn.Sequential(nn.Remat(nn.WeightNorm(nn.Dense(4))))
    assert [(row.path, row.layer, row.params) for row in nn.summary(model, shape(2, 3)).rows] == [
        ("/dense_0", "Remat(WeightNorm(Dense))", 20)
    ]


# Any pure function.


def mlp(params, x):
    with jax.named_scope("hidden"):
        x = jnp.tanh(x @ params["w"] + params["b"][None])
    with jax.named_scope("head"):
        with jax.named_scope("product"):
            y = jax.jit(jnp.dot)(x, params["v"])
        return y * 2.0


MLP = {"w": shape(8, 16), "b": shape(16), "v": shape(16, 4)}


def test_a_pure_function_has_a_row_for_each_named_scope():
    assert str(nn.summary(mlp, MLP, shape(32, 8))).splitlines() == [
        "path           layer  output    params  bytes   FLOPs  backward",
        "---------------------------------------------------------------",
        "/hidden        scope  [32, 16]     144    576   9,216    18,960",
        "/head          scope  [32, 4]       64    256   4,224     8,320",
        "/head/product  scope  [32, 4]       64    256   4,096     8,192",
        "---------------------------------------------------------------",
        "total          mlp    [32, 4]      208    832  13,440    27,280",
    ]
    assert nn.summary(mlp, MLP, shape(32, 8)).total.flops == nn.flops(mlp, MLP, shape(32, 8))


def test_a_layer_s_apply_is_a_function_with_the_same_counts():
    model, x = nn.Sequential(nn.Conv(4, 3), nn.relu, nn.Flatten(), nn.Sequential(nn.Dense(5), nn.tanh)), shape(2, 8, 8, 3)
    params, state = jax.eval_shape(model.init, jax.random.key(0), x)
    plain = nn.summary(lambda params, x: model.apply(params, state, x)[0], params, x)
    layers = nn.summary(model, x)
    counted = lambda rows: {row.path: (row.params, row.flops, row.backward) for row in rows if row.flops}
    assert counted(plain.rows) == counted(layers.rows)
    assert plain.total[3:] == layers.total[3:]


def test_a_function_without_scopes_has_a_total_alone():
    lines = str(nn.summary(lambda w, x: x @ w, shape(3, 4), shape(2, 3))).splitlines()
    assert len(lines) == 3
    assert lines[-1].split() == ["total", "<lambda>", "[2,", "4]", "12", "48", "48", "96"]
