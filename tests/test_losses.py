"""Every loss against PyTorch, SciPy, scikit-learn or optax in float64, with its gradients; and the laws of masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import sklearn.metrics

from fdl import losses

N, T, C = 4, 3, 5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape) * 2


def simplex(*shape, seed=0):
    return scipy.special.softmax(draw(*shape, seed=seed), -1)


def classes(*shape, seed=1, of=C):
    return np.random.default_rng(seed).integers(0, of, shape).astype(np.int32)


def boxes(n, seed=0):
    corner, size = draw(n, 2, seed=seed) / 2, abs(draw(n, 2, seed=seed + 10)) + 0.3
    return np.concatenate([corner, corner + size], -1)


WEIGHTS = np.array([0.5, 2.0, 1.0, 3.0, 0.1])
LENGTHS, LABEL_LENGTHS = np.array([7, 5, 4, 7], np.int32), np.array([3, 2, 1, 0], np.int32)


# name: (loss of what is differentiated and what is not, differentiated inputs, other inputs, PyTorch's)
def references(torch):
    F = torch.nn.functional
    D = torch.distributions
    long = lambda y: y.long()
    pick = lambda logits, y: logits.gather(-1, y.long()[..., None])[..., 0]

    def focal(z, y):
        p = pick(torch.softmax(z, -1), y)
        return (-((1 - p) ** 1.5) * torch.log(p)).mean()

    def binary_focal(z, t):
        p = torch.sigmoid(z)
        p_t, a_t = p * t + (1 - p) * (1 - t), 0.25 * t + 0.75 * (1 - t)
        return (a_t * (1 - p_t) ** 2 * -torch.log(p_t)).mean()

    def tversky(z, y, alpha, beta, s):
        p, t = torch.softmax(z, -1).flatten(1, -2), F.one_hot(long(y), C).flatten(1, -2)
        hit, fp, fn = (p * t).sum(1), (p * (1 - t)).sum(1), ((1 - p) * t).sum(1)
        return (1 - (hit + s) / (hit + alpha * fp + beta * fn + s)).mean()

    def elbo(z, m, s, x):
        kl = D.kl_divergence(D.Normal(m, torch.exp(s / 2)), D.Normal(torch.zeros_like(m), 1.0)).sum()
        return (F.binary_cross_entropy_with_logits(z, x, reduction="sum") + 0.3 * kl) / len(z)

    def ctc(z, y):
        args = long(y), torch.tensor(LENGTHS).long(), torch.tensor(LABEL_LENGTHS).long()
        return F.ctc_loss(torch.log_softmax(z, -1).transpose(0, 1), *args, blank=2, reduction="none").mean()

    def boxes_of(a, b):
        low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
        around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1)
        area = lambda x: (x[:, 2:] - x[:, :2]).prod(-1)
        common = (high - low).clamp(min=0).prod(-1)
        union = area(a) + area(b) - common
        return common / union, (around - union) / around

    p, t = draw(N, T, C), draw(N, T, C, seed=2)
    hard = classes(N, T, seed=3, of=2).astype(np.float64)
    image, regions = draw(2, 4, 3, C), classes(2, 4, 3)
    latent = draw(N, 2), draw(N, 2, seed=2) / 2
    # labels of a sequence: no repetition, and one
    labels = np.array([[0, 3, 4], [1, 1, 0], [4, 0, 0], [0, 0, 0]], np.int32)
    return {
        "cross_entropy": (losses.cross_entropy, [p], [classes(N, T)], lambda z, y: F.cross_entropy(z.flatten(0, 1), long(y).flatten())),
        "cross_entropy with smoothing": (
            functools.partial(losses.cross_entropy, label_smoothing=0.2), [p], [classes(N, T)],
            lambda z, y: F.cross_entropy(z.flatten(0, 1), long(y).flatten(), label_smoothing=0.2),
        ),
        "cross_entropy with weights": (
            functools.partial(losses.cross_entropy, class_weights=WEIGHTS), [p], [classes(N, T)],
            lambda z, y: F.cross_entropy(z.flatten(0, 1), long(y).flatten(), torch.tensor(WEIGHTS)),
        ),
        "cross_entropy with both": (
            functools.partial(losses.cross_entropy, class_weights=WEIGHTS, label_smoothing=0.2), [p], [classes(N, T)],
            lambda z, y: F.cross_entropy(z.flatten(0, 1), long(y).flatten(), torch.tensor(WEIGHTS), label_smoothing=0.2),
        ),
        "soft_cross_entropy": (
            losses.soft_cross_entropy, [p, simplex(N, T, C, seed=5)], [], lambda z, t: F.cross_entropy(z.flatten(0, 1), t.flatten(0, 1)),
        ),
        "kl_divergence": (
            losses.kl_divergence, [p, simplex(N, T, C, seed=5)], [],
            lambda z, t: F.kl_div(torch.log_softmax(z, -1).flatten(0, 1), t.flatten(0, 1), reduction="batchmean"),
        ),
        "focal": (functools.partial(losses.focal, gamma=1.5), [p], [classes(N, T)], focal),
        "binary_cross_entropy": (losses.binary_cross_entropy, [p, abs(t) % 1], [], F.binary_cross_entropy_with_logits),
        "binary_cross_entropy with weights": (
            functools.partial(losses.binary_cross_entropy, positive_weight=WEIGHTS), [p, abs(t) % 1], [],
            lambda z, t: F.binary_cross_entropy_with_logits(z, t, pos_weight=torch.tensor(WEIGHTS)),
        ),
        "binary_focal": (functools.partial(losses.binary_focal, alpha=0.25), [p[..., 0]], [hard], binary_focal),
        "binary_hinge": (losses.binary_hinge, [p[..., 0]], [hard], lambda s, t: torch.relu(1 - (2 * t - 1) * s).mean()),
        "mean_squared_error": (losses.mean_squared_error, [p, t], [], F.mse_loss),
        "mean_absolute_error": (losses.mean_absolute_error, [p, t], [], F.l1_loss),
        "huber": (functools.partial(losses.huber, delta=0.7), [p, t], [], functools.partial(F.huber_loss, delta=0.7)),
        "smooth_l1": (functools.partial(losses.smooth_l1, beta=0.7), [p, t], [], functools.partial(F.smooth_l1_loss, beta=0.7)),
        "log_cosh": (losses.log_cosh, [p, t], [], lambda p, t: torch.log(torch.cosh(p - t)).mean()),
        "quantile": (
            functools.partial(losses.quantile, q=0.2), [p, t], [], lambda p, t: torch.maximum(0.2 * (t - p), -0.8 * (t - p)).mean(),
        ),
        "cosine_distance": (losses.cosine_distance, [p, t], [], lambda p, t: (1 - F.cosine_similarity(p, t, -1)).mean()),
        "gaussian_nll": (
            lambda m, s, t: losses.gaussian_nll((m, s), t), [p, draw(N, T, C, seed=4) / 4, t], [],
            lambda m, s, t: F.gaussian_nll_loss(m, t, torch.exp(s), full=True, eps=0),
        ),
        "ctc": (lambda z, y: losses.ctc(z, y, LENGTHS, LABEL_LENGTHS, blank=2), [draw(N, 7, C)], [labels], ctc),
        "tversky": (
            functools.partial(losses.tversky, alpha=0.3, beta=0.9, smooth=0.5), [image], [regions], lambda z, y: tversky(z, y, 0.3, 0.9, 0.5),
        ),
        "dice": (losses.dice, [image], [regions], lambda z, y: tversky(z, y, 0.5, 0.5, 1)),
        "jaccard": (functools.partial(losses.jaccard, smooth=0.0), [image], [regions], lambda z, y: tversky(z, y, 1, 1, 0)),
        "iou": (losses.iou, [boxes(9), boxes(9, 1)], [], lambda a, b: (1 - boxes_of(a, b)[0]).mean()),
        "giou": (losses.giou, [boxes(9), boxes(9, 1)], [], lambda a, b: (1 - boxes_of(a, b)[0] + boxes_of(a, b)[1]).mean()),
        "gaussian_kl": (
            losses.gaussian_kl, [*latent], [],
            lambda m, s: D.kl_divergence(D.Normal(m, torch.exp(s / 2)), D.Normal(torch.zeros_like(m), 1.0)).sum(-1).mean(),
        ),
        "negative_elbo": (
            lambda z, m, s, x: losses.negative_elbo((z, m, s), x, beta=0.3), [p, *latent, abs(t) % 1], [], elbo,
        ),
    }  # fmt: skip


NAMES = [
    "cross_entropy", "cross_entropy with smoothing", "cross_entropy with weights", "cross_entropy with both", "soft_cross_entropy",
    "kl_divergence", "focal", "binary_cross_entropy", "binary_cross_entropy with weights", "binary_focal", "binary_hinge",
    "mean_squared_error", "mean_absolute_error", "huber", "smooth_l1", "log_cosh", "quantile", "cosine_distance", "gaussian_nll", "ctc",
    "tversky", "dice", "jaccard", "iou", "giou", "gaussian_kl", "negative_elbo",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_agrees_on_the_loss_and_every_gradient(float64, torch, error, name):
    loss, inputs, others, reference = references(torch)[name]
    value, grads = jax.jit(jax.value_and_grad(lambda inputs: loss(*inputs, *map(jnp.asarray, others))))(inputs)
    tensors = [torch.tensor(a, requires_grad=True) for a in inputs]
    wanted = reference(*tensors, *map(torch.tensor, others))
    wanted.backward()
    assert value.dtype == jnp.float64
    assert error((value, grads), (wanted.item(), [t.grad.numpy() for t in tensors])) < 3e-14  # measured 3e-15


def test_hinge_is_scikit_learn_s(float64, error):
    scores, y = draw(30, C), classes(30)
    assert error(losses.hinge(jnp.asarray(scores), y), sklearn.metrics.hinge_loss(y, scores, labels=range(C))) < 2e-15  # measured 0
    gradient = jax.jit(jax.grad(losses.hinge))(scores, y)
    rest = np.where(np.eye(C)[y] == 1, -np.inf, scores)
    active = (1 + rest.max(-1) - scores[np.arange(30), y] > 0)[:, None]
    assert error(gradient, active * (np.eye(C)[rest.argmax(-1)] - np.eye(C)[y]) / 30) < 2e-15  # measured 0


def test_dice_is_optax_s(float64, error):
    z, y = jnp.asarray(draw(2, 4, 3, C)), classes(2, 4, 3)
    both = jax.jit(lambda z: (losses.dice(z, y), optax.losses.dice_loss(z, jax.nn.one_hot(y, C, dtype=jnp.float64)).mean()))
    assert error(*both(z)) < 2e-15  # measured 0


# What a mask drops does not count, whatever stands there.

BAD = -7  # no class
MASKED = {
    "cross_entropy": (losses.cross_entropy, draw(N, T, C), classes(N, T)),
    "cross_entropy with both": (
        functools.partial(losses.cross_entropy, class_weights=WEIGHTS, label_smoothing=0.2), draw(N, T, C), classes(N, T)
    ),
    "soft_cross_entropy": (losses.soft_cross_entropy, draw(N, T, C), simplex(N, T, C, seed=5)),
    "kl_divergence": (losses.kl_divergence, draw(N, T, C), simplex(N, T, C, seed=5)),
    "focal": (losses.focal, draw(N, T, C), classes(N, T)),
    "hinge": (losses.hinge, draw(N, T, C), classes(N, T)),
    "binary_cross_entropy": (losses.binary_cross_entropy, draw(N, T, 2), simplex(N, T, 2, seed=5)),
    "binary_focal": (losses.binary_focal, draw(N, T), classes(N, T, of=2)),
    "binary_hinge": (losses.binary_hinge, draw(N, T), classes(N, T, of=2)),
    "mean_squared_error": (losses.mean_squared_error, draw(N, T, 2), draw(N, T, 2, seed=1)),
    "mean_absolute_error": (losses.mean_absolute_error, draw(N, T, 2), draw(N, T, 2, seed=1)),
    "huber": (losses.huber, draw(N, T), draw(N, T, seed=1)),
    "smooth_l1": (losses.smooth_l1, draw(N, T), draw(N, T, seed=1)),
    "log_cosh": (losses.log_cosh, draw(N, T), draw(N, T, seed=1)),
    "quantile": (functools.partial(losses.quantile, q=0.3), draw(N, T), draw(N, T, seed=1)),
    "cosine_distance": (losses.cosine_distance, draw(N, T, 3), draw(N, T, 3, seed=1)),
    "gaussian_nll": (lambda m, t, mask=None: losses.gaussian_nll((m, 0.1 * m), t, mask=mask), draw(N, T), draw(N, T, seed=1)),
    "tversky": (functools.partial(losses.tversky, alpha=0.2), draw(N, T, C), classes(N, T)),
    "iou": (losses.iou, boxes(12).reshape(N, T, 4), boxes(12, 1).reshape(N, T, 4)),
    "giou": (losses.giou, boxes(12).reshape(N, T, 4), boxes(12, 1).reshape(N, T, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_loss_is_that_of_what_is_left(float64, error, name):
    """Rows of the batch are dropped, then places of the sequence; rubbish there reaches neither value nor gradient."""
    loss, outputs, labels = MASKED[name]
    rows = np.array([True, False, True, False])
    both = rows[:, None] & np.array([[True, True, False]] * N)

    def rubbish(mask, a):
        bad = BAD if a.dtype == np.int32 else np.nan
        return np.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, np.array(bad, a.dtype))

    @jax.jit
    def run(outputs, labels, *spoilt):
        masked = [jax.value_and_grad(lambda z, y, m=m: loss(z, y, mask=m))(z, y) for m, (z, y) in zip((rows, both), spoilt)]
        cut = [jax.value_and_grad(loss)(outputs[::2, :n], labels[::2, :n]) for n in (T, 2)]
        return masked, cut

    masked, cut = run(outputs, labels, *((rubbish(m, outputs), rubbish(m, labels)) for m in (rows, both)))
    for n, mask, (value, gradient), want in zip((T, 2), (rows, both), masked, cut):
        assert error((value, gradient[::2, :n]), want) < 2e-15  # measured 2e-16
        away = ~mask.reshape(mask.shape + (1,) * (outputs.ndim - mask.ndim))
        assert not np.where(away, gradient, 0).any()


@pytest.mark.parametrize("name", MASKED)
def test_where_nothing_is_kept_loss_and_gradient_are_zero(name):
    loss, outputs, labels = MASKED[name]
    z, y = outputs.astype(np.float32), labels.astype(np.float32) if labels.dtype == np.float64 else labels
    value, gradient = jax.jit(jax.value_and_grad(lambda z: loss(z, jnp.asarray(y), mask=jnp.zeros(N, bool))))(z)
    assert value == 0
    assert not np.asarray(gradient).any()


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_losses_are_in_float32_at_least_and_gradients_in_the_input_s_type(float64, name, dtype):
    loss, outputs, labels = MASKED[name]
    targets = labels.dtype if labels.dtype == np.int32 else dtype
    shapes = jax.ShapeDtypeStruct(outputs.shape, dtype), jax.ShapeDtypeStruct(labels.shape, targets)
    value, gradient = jax.eval_shape(jax.value_and_grad(loss), *shapes)
    assert value.shape == ()
    assert value.dtype == (jnp.float64 if dtype == jnp.float64 else jnp.float32)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_or_labels_that_do_not_fit_are_refused(name):
    loss, outputs, labels = MASKED[name]
    for mask in (np.ones(N, np.float32), np.ones((N, 1), bool), np.ones(T, bool), np.ones((N, T, 9), bool)):
        with pytest.raises(ValueError, match="a mask is boolean, of the leading axes of"):
            loss(jnp.asarray(outputs, jnp.float32), jnp.asarray(labels), mask=jnp.asarray(mask))
    for wrong in (labels[:1], labels[..., None]):
        with pytest.raises(ValueError, match=r"shape|takes"):
            loss(jnp.asarray(outputs, jnp.float32), jnp.asarray(wrong))


# Extremes.


@pytest.mark.parametrize(
    "name", ["cross_entropy", "cross_entropy with both", "focal", "hinge", "binary_cross_entropy", "binary_focal", "log_cosh"]
)
def test_values_of_1e4_give_finite_losses_gradients_and_curvature(name):
    loss, outputs, labels = MASKED[name]
    z = np.random.default_rng(0).choice(np.array([-1e4, 0, 1e4], np.float32), outputs.shape)
    z[0] = 0
    y = jnp.asarray(labels if labels.dtype == np.int32 else labels.astype(np.float32))
    gradient = jax.grad(lambda z: loss(z, y))
    found = jax.jit(lambda z: (loss(z, y), gradient(z), jax.jvp(gradient, (z,), (jnp.ones_like(z),))[1]))(z)
    assert all(np.isfinite(leaf).all() for leaf in found)
    assert found[0] > 100 or name == "binary_focal"


def test_binary_cross_entropy_is_scipy_s_at_extreme_logits(float64, error):
    z, t = np.array([-1e4, -40.0, 0.0, 40.0, 1e4] * 2), np.repeat([0.0, 1.0], 5)
    want = scipy.special.logsumexp(np.stack([np.zeros(10), z]), 0) - z * t
    assert error(losses.binary_cross_entropy(jnp.asarray(z), jnp.asarray(t)), want.mean()) < 2e-15  # measured 1e-16


@pytest.mark.parametrize("name", ["focal", "soft_cross_entropy", "kl_divergence", "hinge", "tversky"])
def test_a_shift_of_all_scores_changes_nothing(float64, error, name):
    loss, outputs, labels = MASKED[name]
    run = jax.jit(jax.value_and_grad(loss))
    assert error(run(outputs + 7.0, labels), run(outputs, labels)) < 2e-14  # measured 2e-15


def test_focal_of_gamma_zero_and_smoothing_zero_are_cross_entropy(float64, error):
    _, z, y = MASKED["focal"]

    @jax.jit
    def run(z, zero):
        one_hot = jax.nn.one_hot(y, C, dtype=jnp.float64)
        smooth = losses.cross_entropy(z, y, label_smoothing=zero)
        return smooth, losses.focal(z, y, gamma=0.0), losses.soft_cross_entropy(z, one_hot), losses.cross_entropy(z, y)

    *others, want = run(z, 0.0)
    assert all(error(other, want) < 2e-15 for other in others)  # measured 0
    assert float(losses.kl_divergence(jnp.log(simplex(N, C)), simplex(N, C))) < 1e-15


def test_vectors_of_zeros_have_distance_one_and_no_gradient():
    zero, other = jnp.zeros((2, 3)), jnp.ones((2, 3))
    value, grads = jax.jit(jax.value_and_grad(losses.cosine_distance, (0, 1)))(zero, other)
    assert value == 1
    assert not np.asarray(grads[0]).any()
    tiny = jnp.full((1, 3), 1e-30)
    assert abs(losses.cosine_distance(tiny, -tiny) - 2) < 1e-6  # whose squares are 0 in float32


def test_a_smooth_loss_has_its_curvature_at_zero(float64):
    assert abs(jax.jit(jax.hessian(lambda e: losses.log_cosh(e, jnp.zeros(1))))(jnp.zeros(1))[0, 0] - 1) < 1e-15


def test_the_quantile_s_loss_is_least_at_the_quantile(float64):
    x = draw(999)
    gradient = jax.jit(jax.grad(lambda c: losses.quantile(jnp.full(999, c), x, q=0.3)))
    least = np.quantile(x, 0.3, method="inverted_cdf")
    assert gradient(least - 1e-9) < 0 < gradient(least + 1e-9)


def test_boxes_without_area_and_apart():
    box = jnp.array([[0.0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]])
    other = jnp.array([[2.0, 0, 3, 1], [0, 0, 0, 0], [0, 0, 1, 1]])
    assert losses.box_iou(box, other).tolist() == [0, 0, 1]
    assert float(losses.giou(box[:1], other[:1])) == pytest.approx(1 + 1 / 3, rel=1e-6)
    apart, flat = jax.jit(lambda *a: [jax.grad(loss)(*a) for loss in (losses.giou, losses.iou)])(box, other)
    assert np.isfinite(apart).all()
    assert np.isfinite(flat).all()
    assert not np.asarray(flat[0]).any()
    assert apart[0].any()


# CTC.


def test_ctc_is_the_cut_sequence_s_whatever_stands_in_its_padding(error):
    z, y = draw(N, 7, C).astype(np.float32), np.array([[0, 3, 4], [1, 1, 0], [4, 0, 0], [0, 0, 0]], np.int32)
    run = jax.jit(jax.value_and_grad(lambda z, y, n, m: losses.ctc(z, y, n, m, blank=2)))
    value, gradient = run(np.where(np.arange(7)[None, :, None] < LENGTHS[:, None, None], z, np.nan), y, LENGTHS, LABEL_LENGTHS)
    cut = lambda z, y: [
        losses.ctc(z[b : b + 1, :n], y[b : b + 1, :m], blank=2) for b, (n, m) in enumerate(zip(LENGTHS[:3], LABEL_LENGTHS[:3]))
    ]
    single = jax.jit(cut)(z, y)
    empty = -jax.nn.log_softmax(z[3])[:, 2].sum()  # no label: blanks alone
    assert error(value, (sum(single) + empty) / N) < 1e-6  # measured 0
    assert np.isfinite(gradient).all()
    assert not np.where(np.arange(7)[None, :, None] < LENGTHS[:, None, None], 0, gradient).any()


def test_ctc_of_labels_out_of_reach_is_large_and_finite():
    value, gradient = jax.jit(jax.value_and_grad(losses.ctc))(jnp.zeros((1, 3, 4)), jnp.array([[1, 1, 1]]))  # takes five steps
    assert value > 9e4
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "inputs",
    [
        (jnp.zeros((2, 3)), jnp.zeros((2, 1), jnp.int32)),
        (jnp.zeros((2, 3, 4)), jnp.zeros((3, 1), jnp.int32)),
        (jnp.zeros((2, 3, 4)), jnp.zeros((2, 1))),
        (jnp.zeros((2, 3, 4)), jnp.zeros((2, 1), jnp.int32), jnp.zeros(3, jnp.int32)),
        (jnp.zeros((2, 3, 4)), jnp.zeros((2, 1), jnp.int32), None, jnp.zeros((2, 1), jnp.int32)),
    ],
)
def test_ctc_refuses_shapes_that_do_not_fit(inputs):
    with pytest.raises(ValueError, match=r"ctc takes|lengths of shape"):
        losses.ctc(*inputs)


def test_a_draw_has_the_moments_it_says_and_lets_gradients_through():
    m, s = jnp.full(20_000, 1.5), jnp.full(20_000, np.log(4.0), jnp.float32)
    z = losses.reparameterised(jax.random.key(0), m, s)
    assert abs(z.mean() - 1.5) < 6 * 2 / np.sqrt(20_000)  # six standard errors
    assert abs(z.var() - 4) < 6 * 4 * np.sqrt(2 / 20_000)
    dm, ds = jax.grad(lambda m, s: losses.reparameterised(jax.random.key(0), m, s).sum(), (0, 1))(m, s)
    assert np.array_equal(dm, np.ones(20_000))
    assert np.abs(ds - (z - m) / 2).max() < 1e-5


def test_expectations_of_gaussians_are_their_closed_form(float64):
    assert losses.gaussian_kl(jnp.zeros((2, 3)), jnp.zeros((2, 3))) == 0
    small = jnp.full((1, 1), 1e-6)  # s^2 / 4, of which exp(s) - 1 - s would leave few digits
    assert abs(losses.gaussian_kl(small * 0, small) / 2.5e-13 - 1) < 1e-3
