"""`ops.conv` over one and three axes, with groups and with modes of padding, and `ops.conv_transpose`: against PyTorch and lax."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import ops

SIZES, KERNEL, CHANNELS, FEATURES = (6, 5, 4), (3, 2, 2), 4, 8
PADDING = ((1, 0), (2, 1), (0, 1))


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def arrays(rank, groups, features=FEATURES):
    return draw(0, 2, *SIZES[:rank], CHANNELS), draw(1, *KERNEL[:rank], CHANNELS // groups, features)


def with_gradients(f):
    def both(*args):
        y, pull = jax.vjp(f, *args)
        return y, *pull((1 + jnp.cos(jnp.arange(y.size, dtype=y.dtype))).reshape(y.shape))

    return both


def grid():
    """Rank x groups with one or two of four (strides, dilation, padding) each; two axes and one group have tests of their own."""
    steps = [(1, 1, "SAME"), (2, 1, "SAME"), (1, 2, "VALID"), (2, 1, PADDING)]
    cases = list(itertools.product((1, 2, 3), (1, 2, 4)))
    return [(*case, *steps[(i + j) % 4]) for i, case in enumerate(cases) for j in ((0, 2) if case[0] < 3 else (0,)) if case != (2, 1)]


def fitting(padding, rank):
    return padding if isinstance(padding, str) else padding[:rank]


@pytest.mark.parametrize(("rank", "groups", "strides", "dilation", "padding"), grid())
def test_every_rank_and_any_groups_have_the_values_and_gradients_of_lax(float64, error, rank, groups, strides, dilation, padding):
    if padding == "VALID":
        dilation = (dilation, *[1] * (rank - 1))
    conv = lambda form: lambda x, w: ops.conv(x, w, strides, fitting(padding, rank), dilation, groups, form)
    x, w = arrays(rank, groups, CHANNELS if groups == 4 else FEATURES)  # depthwise: by shifts
    got, want = jax.jit(lambda *a: [with_gradients(conv(form))(*a) for form in ("auto", "lax")])(x, w)
    assert error(got, want) < 5e-15  # measured 9e-16


def torch_way(torch, function, arrays, to_torch):
    """The output and gradients of `function` on arrays brought into PyTorch's order of axes and back."""
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = function(*[t(leaf) for t, leaf in zip(to_torch, leaves)]).movedim(1, -1)
    y.backward((1 + torch.cos(torch.arange(y.numel(), dtype=torch.float64))).reshape(y.shape))
    return [y.detach().numpy(), *[leaf.grad.numpy() for leaf in leaves]]


FIRST = lambda t: t.movedim(-1, 1)  # channels
KERNELS = lambda t: t.movedim(-1, 0).movedim(-1, 1)  # [..., in, out] to [out, in, ...]


@pytest.mark.parametrize(
    ("rank", "groups", "strides", "dilation"), [(1, 1, 2, 1), (1, 2, 1, 2), (2, 2, 2, 1), (2, 4, 1, 1), (3, 1, 2, 1), (3, 2, 1, 1)]
)
def test_pytorch_agrees_on_convolutions(float64, torch, error, rank, groups, strides, dilation):
    x, w = arrays(rank, groups)
    b = np.linspace(-1, 1, FEATURES)
    function = getattr(torch.nn.functional, f"conv{rank}d")
    want = torch_way(torch, lambda x, w, b: function(x, w, b, strides, 1, dilation, groups), (x, w, b), (FIRST, KERNELS, lambda b: b))
    conv = lambda x, w, b: ops.conv(x, w, strides, [(1, 1)] * rank, dilation, groups) + b.reshape(*[1] * (rank + 1), -1)
    assert error(jax.jit(with_gradients(conv))(x, w, b), want) < 1e-14  # measured 2e-15


def exchanged(groups):
    """Our transposed kernel `[..., C / groups, F]` to PyTorch's `[C, F / groups, ...]`."""

    def move(t):
        t = t.reshape(*t.shape[:-1], groups, -1).movedim(-2, 0).movedim(-2, 1).movedim(-1, 2)  # [groups, C / groups, F / groups, ...]
        return t.flatten(0, 1)

    return move


TRANSPOSED = [
    (1, 1, 2, 1, 1, 1), (1, 2, 3, 2, 0, 2), (2, 1, 2, 1, 1, 1), (2, 1, (3, 1), (1, 2), 1, (2, 0)),
    (2, 2, 2, 1, 0, 0), (2, 4, 2, 1, 1, 1), (3, 1, 2, 1, 1, 1), (3, 2, 1, 1, 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("rank", "groups", "strides", "dilation", "padding", "more"), TRANSPOSED)
def test_pytorch_agrees_on_transposed_convolutions(float64, torch, error, rank, groups, strides, dilation, padding, more):
    x, w = arrays(rank, groups)
    b = np.linspace(-1, 1, FEATURES)
    function = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    reference = lambda x, w, b: function(x, w, b, strides, padding, more, groups, dilation)
    want = torch_way(torch, reference, (x, w, b), (FIRST, exchanged(groups), lambda b: b))
    conv = lambda x, w, b: ops.conv_transpose(x, w, strides, [(padding, padding)] * rank, dilation, groups, more)
    got = jax.jit(with_gradients(lambda x, w, b: conv(x, w, b) + b.reshape(*[1] * (rank + 1), -1)))(x, w, b)
    assert error(got, want) < 1e-14  # measured 2e-15


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("rank", "strides", "dilation"), [(1, 2, 1), (1, 4, 1), (2, (1, 3), (2, 1)), (2, 2, 2), (3, 2, 1)])
def test_lax_agrees_on_transposed_convolutions_by_name_of_padding(float64, error, rank, strides, dilation, padding):
    x, w = arrays(rank, 1)
    spatial = "DHW"[-rank:]
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    steps = [tuple(np.broadcast_to(a, rank).tolist()) for a in (strides, dilation)]
    reference = lambda x, w: jax.lax.conv_transpose(x, jnp.flip(w, range(rank)), steps[0], padding, steps[1], numbers)
    got, want = jax.jit(lambda *a: [reference(*a), ops.conv_transpose(*a, strides, padding, dilation)])(x, w)
    assert error(got, want) < 5e-15  # measured 0


@pytest.mark.parametrize(("rank", "groups", "padding"), [(1, 2, "SAME"), (2, 1, "VALID"), (2, 4, ((1, 0), (0, 1)))])
def test_the_transposed_convolution_is_the_transpose(float64, error, rank, groups, padding):
    """`<conv(z), x> = <z, conv_transpose(x)>`, for a kernel with channels and features exchanged within each group."""
    x, w = arrays(rank, groups)
    y = jax.jit(lambda x, w: ops.conv_transpose(x, w, 2, padding, 1, groups))(x, w)
    z = draw(2, *y.shape)
    back = w.reshape(*w.shape[:-1], groups, -1).swapaxes(-3, -1)  # [..., F / groups, groups, C / groups]
    forward = jax.jit(lambda z: ops.conv(z, back.reshape(*w.shape[:-2], FEATURES // groups, -1), 2, padding, 1, groups, "lax"))(z)
    assert error(np.vdot(forward, x), np.vdot(z, y)) < 2e-13  # measured 2e-14


@pytest.mark.parametrize(("mode", "name"), [("CIRCULAR", "circular"), ("REFLECT", "reflect")])
@pytest.mark.parametrize(("rank", "kernel", "groups"), [(1, (5,), 2), (2, (3, 5), 1), (2, (3, 3), 4), (3, (3, 3, 3), 1)])
def test_modes_of_padding_are_those_of_pytorch(float64, torch, error, mode, name, rank, kernel, groups):
    x, w = draw(0, 2, *SIZES[:rank], CHANNELS), draw(1, *kernel, CHANNELS // groups, CHANNELS)
    amounts = [k // 2 for k in reversed(kernel) for _ in range(2)]
    function = getattr(torch.nn.functional, f"conv{rank}d")
    reference = lambda x, w: function(torch.nn.functional.pad(x, amounts, name), w, groups=groups)
    want = torch_way(torch, reference, (x, w), (FIRST, KERNELS))
    assert error(jax.jit(with_gradients(lambda x, w: ops.conv(x, w, padding=mode, groups=groups)))(x, w), want) < 1e-14  # measured 2e-15


def test_modes_of_padding_take_the_amounts_of_same():
    """An even kernel has its odd element at the high end; strides and dilation count."""
    x, w = np.arange(1.0, 7.0, dtype="f").reshape(1, 6, 1), np.ones((2, 1, 1), "f")
    assert ops.conv(x, w, padding="CIRCULAR").ravel().tolist() == [3, 5, 7, 9, 11, 7]
    assert ops.conv(x, w, padding="REFLECT").ravel().tolist() == [3, 5, 7, 9, 11, 11]
    assert ops.conv(x, w, 1, "CIRCULAR", 2).ravel().tolist() == [8, 4, 6, 8, 10, 6]
    assert ops.conv(x, np.ones((3, 1, 1), "f"), 2, "CIRCULAR").ravel().tolist() == [6, 12, 12]


CASES = {
    "1D": (1, 1, lambda form, x, w: ops.conv(x, w, 2, form=form)),
    "3D": (3, 1, lambda form, x, w: ops.conv(x, w, (2, 1, 2), form=form)),
    "bundles": (2, 2, lambda form, x, w: ops.conv(x, w, groups=2, form=form)),
    "depthwise": (2, 4, lambda form, x, w: ops.conv(x, w[..., :4], 2, groups=4, form=form)),
}
each = pytest.mark.parametrize(("rank", "groups", "conv"), CASES.values(), ids=CASES)


def loss_of(conv, form):
    return lambda x, w: jnp.sum(jnp.tanh(conv(form, x, w)) ** 2)


def compared(error, transform, *args):
    """The error of the automatic form against lax, where `transform` turns a form into a function of `args`."""
    return error(*jax.jit(lambda *args: [transform(form)(*args) for form in ("auto", "lax")])(*args))


@each
def test_hessian_products_and_reverse_over_reverse_are_those_of_lax(float64, error, rank, groups, conv):
    def transform(form):
        gradient = jax.grad(loss_of(conv, form), (0, 1))
        norm = lambda x, w: sum(jnp.sum(g**2) for g in gradient(x, w))
        return lambda x, w: (jax.jvp(gradient, (x, w), (x, w))[1], jax.grad(norm, (0, 1))(x, w))

    assert compared(error, transform, *arrays(rank, groups)) < 3e-13  # measured 3e-14


@pytest.mark.parametrize(
    ("name", "axes"),
    [("bundles", (0, None)), ("bundles", (None, 0)), ("bundles", (0, 0)), ("1D", (None, 0)), ("3D", (0, 0)), ("depthwise", (0, 0))],
)
def test_vmap_inside_and_outside_the_gradient_is_that_of_lax(float64, error, name, axes):
    rank, groups, conv = CASES[name]

    def transform(form):
        loss = loss_of(conv, form)
        outside = jax.vmap(jax.value_and_grad(loss, (0, 1)), axes)
        inside = jax.grad(lambda x, w: jax.vmap(loss, axes)(x, w).sum(), (0, 1))
        return lambda x, w: (outside(x, w), inside(x, w))

    stacked = [a if axis is None else np.stack([a, a - 1]) for a, axis in zip(arrays(rank, groups), axes)]
    assert compared(error, transform, *stacked) < 3e-14  # measured 3e-15


def train(loss):
    def run(x, w):
        def step(xw, _):
            value, grads = jax.value_and_grad(loss, (0, 1))(*xw)
            return jax.tree.map(lambda a, g: a - 0.01 * g, xw, grads), value

        return jax.lax.scan(step, (x, w), None, length=2)

    return run


@each
def test_training_inside_scan_is_that_of_lax_in_the_fast_layout(float64, error, rank, groups, conv):
    args = arrays(rank, groups)
    runs = [jax.jit(train(loss_of(conv, form))).lower(*args).compile() for form in ("auto", "lax")]
    assert error(*[run(*args) for run in runs]) < 5e-15  # measured 3e-16
    labels = [set(re.findall(r"dim_labels=(\w+->\w+)", run.as_text())) for run in runs]
    assert labels[0] <= {"b01f_01io->b01f"}
    assert labels[1] - {"b01f_01io->b01f"}  # so this test can fail


TRANSPOSES = {"1D": (1, 2, 2), "depthwise": (2, 4, 2)}


@pytest.mark.parametrize(("rank", "groups", "strides"), TRANSPOSES.values(), ids=TRANSPOSES)
def test_the_transposed_convolution_under_every_transformation(float64, error, rank, groups, strides):
    """Against the same by lax, of an input spread out with zeros."""
    x, w = arrays(rank, groups, CHANNELS)

    def by_lax(x, w):
        zeros = [(0, 0, strides - 1) for _ in range(rank)]
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *zeros, (0, 0, 0)])
        return ops.conv(x, jnp.flip(w, range(rank)), 1, [(k - 1, k - 1) for k in w.shape[:rank]], 1, groups, "lax")

    def transform(conv):
        loss = lambda x, w: jnp.sum(jnp.tanh(conv(x, w)) ** 2)
        gradient = jax.grad(loss, (0, 1))
        product = lambda x, w: jax.jvp(gradient, (x, w), (w.sum() * x, x.sum() * w))
        mapped = lambda x, w: jax.vmap(gradient)(jnp.stack([x, 2 * x]), jnp.stack([w, w - 1]))
        return lambda x, w: (product(x, w), mapped(x, w), train(loss)(x, w))

    ours = lambda x, w: ops.conv_transpose(x, w, strides, [(0, 0)] * rank, 1, groups)
    assert error(*jax.jit(lambda x, w: [transform(conv)(x, w) for conv in (ours, by_lax)])(x, w)) < 5e-15  # measured 4e-16


@pytest.mark.parametrize(("rank", "groups"), [(1, 1), (2, 2), (2, 4), (3, 1)])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_dtype_is_kept_forward_and_backward(rank, groups, dtype):
    x, w = (a.astype(dtype) for a in arrays(rank, groups))
    for conv in (ops.conv, ops.conv_transpose):
        results = jax.eval_shape(with_gradients(lambda x, w: conv(x, w, 2, groups=groups)), x, w)  # noqa: B023
        assert {a.dtype for a in results} == {jnp.dtype(dtype)}


def test_what_does_not_fit_is_refused():
    x, w = np.ones((2, 6, 6, 4), "f"), np.ones((3, 3, 2, 8), "f")
    with pytest.raises(ValueError, match="4 channels and 8 features do not divide into 3 groups"):
        ops.conv(x, w, groups=3)
    with pytest.raises(ValueError, match=r"a kernel of shape \(3, 3, 2, 8\) of 4 groups does not fit an input of shape \(2, 6, 6, 4\)"):
        ops.conv(x, w, groups=4)
    with pytest.raises(ValueError, match=r"or \[batch, depth, height, width, channels\], not 2 of them"):
        ops.conv(x[0, 0], w)
    with pytest.raises(ValueError, match=r"strides \(1, 2, 1\) has 3 numbers for 2 spatial axes"):
        ops.conv(x, w, (1, 2, 1), groups=2)
    with pytest.raises(ValueError, match=r"padding \(\(1, 1\),\) has 1 pairs for 2 spatial axes"):
        ops.conv(x, w, 1, ((1, 1),), groups=2)
    with pytest.raises(ValueError, match="no shifts form of 2 channels in each group"):
        ops.conv(x, w, groups=2, form="shifts")
    with pytest.raises(ValueError, match="no shifts form of one group"):
        ops.conv(x[..., :2], w, form="shifts")
    for padding, more in (("SAME", 1), (((1, 1), (1, 1)), 2)):
        with pytest.raises(ValueError, match=r"output_padding .* is for explicit padding, and from 0 to less than the strides"):
            ops.conv_transpose(x, w, 2, padding, groups=2, output_padding=more)
    with pytest.raises(ValueError, match="padding 'CIRCULAR' is none of 'SAME', 'VALID'"):
        ops.conv_transpose(x, w, 2, "CIRCULAR", groups=2)
