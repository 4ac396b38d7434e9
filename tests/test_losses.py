"""Every loss against PyTorch, scikit-learn or optax in float64, with its gradients; CTC; draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics
from losses_table import LABEL_LENGTHS, LENGTHS, WEIGHTS, C, N, T, boxes, classes, draw, simplex

from fdl import losses


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
    table = references(torch)
    assert list(table) == NAMES
    loss, inputs, others, reference = table[name]
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
