"""`ops.attention` and its parts: PyTorch, masks, and what a mask must not let through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from fdl import ops


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


B, Q, K, H, D, V = 2, 5, 4, 3, 6, 7
LENGTHS = np.array([3, 1], np.int32)


def setting():
    return draw(B, Q, H, D), draw(B, K, H, D, seed=1), draw(B, K, H, V, seed=2)


def results(f, *args):
    """The value and every gradient, with the cotangent cos(0, 1, 2, ...)."""

    @jax.jit
    def run(*args):
        y, pull = jax.vjp(f, *args)
        return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return run(*args)


@pytest.mark.parametrize("kind", ["plain", "padding", "arbitrary", "causal", "bias"])
def test_attention_and_every_gradient_are_pytorch_s(float64, torch, error, kind):
    mask = {"padding": np.asarray(ops.length_mask(LENGTHS, K))[:, None, None, :], "arbitrary": draw(B, H, Q, K, seed=4) > -0.8}.get(kind)
    bias = draw(1, H, Q, K, seed=5) if kind == "bias" else None
    options = {"causal": kind == "causal", "scale": 0.3 if kind == "arbitrary" else None}
    got = results(lambda q, k, v: ops.attention(q, k, v, mask, bias=bias, **options), *setting())
    q, k, v = (torch.tensor(a, requires_grad=True) for a in setting())
    given = mask if bias is None else bias
    y = torch.nn.functional.scaled_dot_product_attention(
        *(a.transpose(1, 2) for a in (q, k, v)),
        None if given is None else torch.tensor(given),
        is_causal=options["causal"],
        scale=options["scale"],
    ).transpose(1, 2)
    y.backward(torch.cos(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape))
    if mask is not None:
        assert mask.any(-1).all()  # PyTorch has NaN where nothing may be looked at
    assert error(got, [a.detach().numpy() for a in (y, q.grad, k.grad, v.grad)]) < 5e-15  # measured 5e-16


def test_a_mask_is_truncation_whatever_stands_behind_it(float64, error):
    mask = ops.length_mask(LENGTHS, K)[:, None, None, :]
    cotangent = jnp.cos(jnp.arange(B * Q * H * V, dtype=jnp.float64)).reshape(B, Q, H, V)

    @jax.jit
    def run(q, k, v, *spoilt):
        y, pull = jax.vjp(lambda *a: ops.attention(*a, mask), q, *spoilt)
        cuts = []
        for b, n in enumerate(LENGTHS):
            one, pull_one = jax.vjp(ops.attention, q[b : b + 1], k[b : b + 1, :n], v[b : b + 1, :n])
            cuts.append((one, *pull_one(cotangent[b : b + 1])))
        return (y, *pull(cotangent)), cuts

    q, k, v = setting()
    padded = np.arange(K)[None, :, None, None] >= LENGTHS[:, None, None, None]
    for rubbish in (1e300, np.inf, np.nan):
        (y, dq, dk, dv), cuts = run(q, k, v, np.where(padded, rubbish, k), np.where(padded, rubbish, v))
        for b, (n, cut) in enumerate(zip(LENGTHS, cuts)):
            assert error((y[b : b + 1], dq[b : b + 1], dk[b : b + 1, :n], dv[b : b + 1, :n]), cut) < 5e-15  # measured 2e-16
            assert not np.asarray(dk[b, n:]).any()
            assert not np.asarray(dv[b, n:]).any()


def test_a_query_that_may_look_at_nothing_gets_zero_and_no_nan_anywhere():
    inputs = jax.tree.map(lambda a: a.astype(np.float32), setting())
    mask = np.ones((B, 1, Q, K), bool)
    mask[0, :, 2] = False

    @jax.jit
    def run(*inputs):
        loss = lambda *a: jnp.sum(jnp.sin(ops.attention(*a, mask)))
        gradient = jax.grad(loss, (0, 1, 2))
        forward, over = (jax.jvp(f, inputs, inputs)[1] for f in (loss, gradient))
        return ops.attention(*inputs, mask), gradient(*inputs), forward, over

    y, gradient, *others = run(*inputs)
    assert not np.asarray(y[0, 2]).any()
    assert np.asarray(y[0, 1]).all()
    assert not np.asarray(gradient[0][0, 2]).any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, others)))


def test_a_causal_mask_lets_nothing_through_from_the_future():
    q, k, v = jax.tree.map(lambda a: a.astype(np.float32)[:1, :K], setting())
    run = jax.jit(lambda q, k, v: ops.attention(q, k, v, causal=True))
    y = run(q, k, v)
    for t in range(K):
        late = np.arange(K)[None, :, None, None] > t
        other = run(q, np.where(late, k + 7, k), np.where(late, 1e30, v).astype(np.float32))
        assert np.array_equal(y[:, : t + 1], other[:, : t + 1])
    jacobian = jax.jit(jax.jacrev(lambda v: run(q, k, v).sum((0, 2, 3))))(v)  # [query, batch, key, head, feature]
    seen = np.asarray(abs(jacobian).sum((1, 3, 4)))
    assert np.array_equal(seen > 0, np.tril(np.ones((K, K), bool)))


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_the_softmax_is_scipy_s_at_extreme_scores_and_its_gradient_is_finite(float64, error, size):
    scores, mask = draw(4, 6) * size, draw(4, 6, seed=1) > 0
    mask[:, 0] = True
    want = np.exp(np.where(mask, scores, -np.inf) - scipy.special.logsumexp(np.where(mask, scores, -np.inf), -1, keepdims=True))
    assert error(ops.masked_softmax(jnp.asarray(scores), mask), want) < 5e-15  # measured 2e-16
    weight = jnp.asarray(want, jnp.float32)
    loss = lambda s: jnp.sum(jnp.cos(ops.masked_softmax(s, mask)) * weight)
    grads = jax.jit(jax.grad(loss))(scores.astype(np.float32))
    assert np.isfinite(grads).all()
    assert not np.where(mask, 0, grads).any()


def test_a_shift_of_all_scores_changes_nothing(float64, error):
    scores, mask = jnp.asarray(draw(4, 6)), draw(4, 6, seed=1) > 0
    assert error(ops.masked_softmax(scores + 300, mask), ops.masked_softmax(scores, mask)) < 1e-13  # measured 1e-14


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_low_precision_keeps_its_type_and_softmax_runs_in_float32(dtype):
    q, k, v = (jnp.asarray(a, dtype) for a in setting())
    mask = ops.length_mask(LENGTHS, K)[:, None, None, :]
    found = results(lambda q, k, v: ops.attention(q, k, v, mask), q, k, v)
    assert {leaf.dtype for leaf in found} == {jnp.dtype(dtype)}
    assert ops.attention_weights(q, k, mask).dtype == jnp.float32
    want = ops.attention(*(a.astype(jnp.float32) for a in (q, k, v)), mask)
    worst = float(np.max(abs(np.asarray(found[0], np.float32) - np.asarray(want))))
    assert worst < (0.03 if dtype == jnp.bfloat16 else 3e-3)  # measured 6e-3 and 1e-3


def test_additive_weights_are_a_loop(float64, error):
    q, k, v = draw(B, D), draw(B, K, D, seed=1), draw(D, seed=2)
    want = np.zeros((B, K))
    for b, n in enumerate(LENGTHS):
        e = [np.exp(sum(v[d] * np.tanh(q[b, d] + k[b, i, d]) for d in range(D))) for i in range(n)]
        want[b, :n] = np.array(e) / sum(e)
    rubbish = np.where(np.arange(K)[None, :, None] >= LENGTHS[:, None, None], np.nan, k)
    y, *grads = results(lambda *a: ops.additive_weights(*a, ops.length_mask(LENGTHS, K)), q, rubbish, v)
    assert error(y, want) < 5e-15  # measured 4e-16
    assert all(np.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_a_length_mask_of_any_integers(dtype):
    assert ops.length_mask(np.array([0, 2, 255], dtype), 300).sum(1).tolist() == [0, 2, 255]


@pytest.mark.parametrize(
    ("shapes", "mask", "text"),
    [
        (((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 5)), None, "queries of shape"),
        (((1, 2, 3, 4), (1, 2, 2, 4), (1, 2, 2, 4)), None, "queries of shape"),
        (((1, 2, 3, 4), (1, 2, 3, 4), (1, 5, 3, 4)), None, "keys of shape"),
        (((1, 2, 3, 4),) * 3, np.ones((2, 2), bool), "a mask is boolean"),
        (((1, 2, 3, 4),) * 3, np.ones((1, 1, 2, 2), np.float32), "a mask is boolean"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, mask, text):
    with pytest.raises(ValueError, match=text):
        ops.attention(*(jnp.zeros(shape) for shape in shapes), mask)


# Positions.


def test_sinusoidal_positions_are_the_paper_s(float64, error):
    got = np.asarray(ops.sinusoidal(50, 6, jnp.float64))
    want = [[(np.cos if j % 2 else np.sin)(t / 10000 ** (2 * (j // 2) / 6)) for j in range(6)] for t in range(50)]
    assert error(got, np.array(want)) < 1e-15  # measured 0


def test_rotation_is_complex_multiplication_and_products_depend_on_distance_alone(float64, error):
    x = draw(1, 9, 2, 6)
    turn = np.exp(1j * np.arange(9)[:, None] / 10000 ** (2 * np.arange(3) / 6))
    z = (x[..., 0::2] + 1j * x[..., 1::2]) * turn[None, :, None, :]
    assert error(ops.rotary(jnp.asarray(x)), np.stack([z.real, z.imag], -1).reshape(x.shape)) < 1e-15  # measured 1e-16
    q, k = (np.broadcast_to(draw(1, 1, 1, 6, seed=s), (1, 9, 1, 6)) for s in (1, 2))
    scores = np.einsum("bqhd,bkhd->qk", *(np.asarray(ops.rotary(jnp.asarray(a))) for a in (q, k)))
    for distance in range(-8, 9):
        assert np.ptp(np.diagonal(scores, distance)) < 2e-14  # measured 2e-15
    assert np.ptp(scores) > 0.1


def test_positions_far_out_are_exact_in_float32():
    far = np.asarray(ops.sinusoidal(100_001, 2))[-1]
    assert np.abs(far - [np.sin(100_000), np.cos(100_000)]).max() < 6e-8  # half of float32's spacing at 1


@pytest.mark.parametrize("run", [lambda: ops.sinusoidal(3, 5), lambda: ops.rotary(jnp.zeros((1, 2, 1, 3)))])
def test_positions_need_pairs_of_features(run):
    with pytest.raises(ValueError, match="no even number"):
        run()
