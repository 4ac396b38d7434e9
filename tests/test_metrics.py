"""Metrics against scikit-learn and NumPy; states merge into the whole, in scan, vmap and over devices."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fdl import FdlError, losses, metrics

C = 4


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def classes(*shape, seed=1, of=C):
    return np.random.default_rng(seed).integers(0, of, shape).astype(np.int32)


# name: metric, outputs [24, ...], labels [24, ...], figure of the whole by NumPy or scikit-learn
SETTINGS = {
    "Mean": (metrics.Mean(), 5 + draw(24, 3), None, lambda x, _: x.astype(np.float64).mean()),
    "Moments": (metrics.Moments(), 100 + draw(24), None, lambda x, _: (x.astype(np.float64).mean(), x.astype(np.float64).var())),
    "Accuracy": (metrics.Accuracy(), draw(24, C), classes(24), lambda x, y: sklearn.metrics.accuracy_score(y, x.argmax(-1))),
    "Accuracy of two": (
        metrics.Accuracy(2), draw(24, C), classes(24), lambda x, y: sklearn.metrics.top_k_accuracy_score(y, x, k=2, labels=range(C))
    ),
    "Confusion": (
        metrics.Confusion(C), draw(24, C), classes(24), lambda x, y: sklearn.metrics.confusion_matrix(y, x.argmax(-1), labels=range(C))
    ),
    "Perplexity": (
        metrics.Perplexity(), draw(24, 3, C), classes(24, 3), lambda x, y: np.exp(
            sklearn.metrics.log_loss(y.ravel(), scipy.special.softmax(x.reshape(-1, C).astype(np.float64), -1), labels=range(C))
        ),
    ),
    "AUC": (
        metrics.AUC(bins=50, low=-5, high=5), classes(24, of=50) / np.float32(5) - np.float32(4.9), classes(24, of=2), lambda x, y: sklearn.metrics.roc_auc_score(y, x)
    ),
}  # fmt: skip
each = pytest.mark.parametrize("name", SETTINGS)


def close(got, want, tolerance=2e-5):  # measured 2e-6, for a variance about a mean 100 times as large; else 2e-7
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        worst = np.max(abs(np.asarray(a, np.float64) - b)) / (np.max(abs(np.asarray(b, np.float64))) or 1)
        print(f"error {worst:.1e}")
        assert worst < tolerance


@each
def test_in_one_batch_it_is_the_reference(name):
    metric, outputs, labels, want = SETTINGS[name]
    close(jax.jit(metric)(outputs, labels), want(outputs, labels))


@each
def test_batches_of_any_division_merge_into_the_whole(name):
    """In a scan, under vmap and merge, in another order, from halves: counts to the bit."""
    metric, outputs, labels, want = SETTINGS[name]

    @jax.jit
    def run(outputs, labels):
        cut = jax.tree.map(lambda a: a.reshape(6, 4, *a.shape[1:]), (outputs, labels))
        scanned, _ = jax.lax.scan(lambda state, batch: (metric.update(state, *batch), None), metric.init(), cut)
        states = jax.vmap(metric.measure)(*cut)
        mapped = metric.merge_all(states)
        other = metric.merge_all(jax.tree.map(lambda a: a[jnp.array([3, 0, 5, 1, 4, 2])], states))
        left, right = (metric.merge_all(jax.tree.map(lambda a, part=part: a[part], states)) for part in (np.s_[:1], np.s_[1:]))
        return [metric.compute(s) for s in (scanned, mapped, other, metric.merge(left, right), metric.merge(metric.init(), mapped))]

    results = run(outputs, labels)
    for result in results:
        close(result, want(outputs, labels))
    if all(leaf.dtype == jnp.int32 for leaf in jax.tree.leaves(metric.init())):
        assert all(np.array_equal(result, results[0]) for result in results)


@each
def test_over_a_sharded_batch_it_is_the_same(name):
    metric, outputs, labels, want = SETTINGS[name]
    mesh = Mesh(np.array(jax.devices()), ("data",))
    place = lambda a: jax.device_put(a, NamedSharding(mesh, PartitionSpec("data")))
    close(jax.jit(metric)(*jax.tree.map(place, (outputs, labels))), want(outputs, labels))


@each
def test_what_a_mask_drops_does_not_count_whatever_stands_there(name):
    metric, outputs, labels, want = SETTINGS[name]
    keep = np.arange(24) % 3 != 1
    outputs = np.where(keep.reshape(24, *[1] * (outputs.ndim - 1)), outputs, np.nan)
    if labels is not None:
        labels = np.where(keep.reshape(24, *[1] * (labels.ndim - 1)), labels, -1)
    figure = jax.jit(lambda *a: metric.compute(metric.update(metric.init(), *a)))(outputs, labels, keep)
    close(figure, want(outputs[keep], None if labels is None else labels[keep]))


@each
def test_nothing_seen_is_zero_one_or_nan_but_no_error(name):
    metric, outputs, labels, _ = SETTINGS[name]
    found = [np.asarray(leaf) for leaf in jax.tree.leaves(metric.compute(metric.init()))]
    assert all(np.array_equal(leaf, np.full_like(leaf, {"Perplexity": 1, "AUC": np.nan}.get(name, 0)), equal_nan=True) for leaf in found)
    masked = jax.jit(metric)(outputs, labels, np.zeros(24, bool))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(jax.tree.leaves(masked), found))


# Confusion matrices.


@pytest.mark.parametrize("absent", [0.0, 1.0, np.nan])
@pytest.mark.parametrize("average", ["none", "macro", "micro", "weighted"])
def test_scores_are_scikit_learn_s_with_absent_classes(average, absent):
    y, predicted = classes(30, of=3), classes(30, seed=2, of=4)  # class 3 is never true, class 4 does not occur, 5 is true alone
    y[:2] = 5
    options = {"labels": range(6), "average": None if average == "none" else average, "zero_division": absent}
    run = jax.jit(functools.partial(metrics.scores, average=average, absent=absent))
    found = run(metrics.Confusion(6)(jnp.asarray(predicted), jnp.asarray(y)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = sklearn.metrics.precision_recall_fscore_support(y, predicted, **options)[:3]
    for got, figure in zip(found[:3], want, strict=True):
        assert np.allclose(got, figure, rtol=1e-6, atol=0, equal_nan=True)  # measured 1e-7
    if not np.isnan(absent):  # which jaccard_score does not take
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.allclose(found.iou, sklearn.metrics.jaccard_score(y, predicted, **options), rtol=1e-6, atol=0)


def test_confusion_takes_logits_or_classes_and_leaves_out_what_is_no_class():
    y, logits = np.array([0, 1, 2, 3, -1, 7], np.int32), np.eye(4, dtype=np.float32)[[0, 2, 2, 1, 0, 0]]
    want = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert metrics.Confusion(4)(logits, y).tolist() == want
    assert metrics.Confusion(4)(logits.argmax(-1), y).tolist() == want


# Ties, and error bounds.


def test_of_equal_logits_the_first_are_the_top():
    logits, y = classes(60, 5, of=3).astype(np.float32), classes(60, of=5)
    for top in (1, 2, 3, 5, 9):
        rank = [(np.sort(-row, kind="stable"), np.argsort(-row, kind="stable").tolist().index(t))[1] for row, t in zip(logits, y)]
        want = np.mean(np.array(rank) < top)
        assert abs(float(metrics.Accuracy(top)(logits, y)) - want) < 1e-6
        assert abs(float(metrics.accuracy(jnp.asarray(logits), jnp.asarray(y), top=top)) - want) < 1e-6


def test_the_area_is_off_by_at_most_half_of_the_pairs_that_share_a_bin():
    y, x = classes(4000, of=2), np.random.default_rng(0).beta(2, 2, 4000).astype(np.float32)
    x = np.where(y == 1, np.sqrt(x), x)
    want, metric = sklearn.metrics.roc_auc_score(y, x), metrics.AUC(bins=40)
    negative, positive = np.asarray(jax.jit(metric.measure)(x, y)["counts"])
    bound = (negative * positive).sum() / (2 * negative.sum() * positive.sum())
    assert 0 < abs(float(jax.jit(metric)(x, y)) - want) <= bound + 1e-6
    assert abs(float(jax.jit(metrics.AUC(bins=100_000))(x, y)) - want) < 1e-5
    assert float(metrics.AUC()(jnp.array([-3.0, 0.5, 1.0, 9.0]), jnp.array([0, 0, 1, 1]))) == 1  # the outermost bins hold what lies outside
    assert np.isnan(metrics.AUC()(x, jnp.zeros(4000, jnp.int32)))


def test_moments_of_far_away_values_keep_their_digits():
    x, metric = 1e4 + draw(64), metrics.Moments()
    mean, variance = functools.reduce(metric.update, x.reshape(16, 4), metric.init()), x.astype(np.float64).var()
    found = metric.compute(mean)[1]
    assert abs(float(found) / variance - 1) < 3e-3  # measured 3e-4; a sum of squares would leave nothing of it


def test_accuracy_and_perplexity_of_a_batch_take_masks():
    logits, y, keep = draw(6, 3, C), classes(6, 3), np.arange(18).reshape(6, 3) % 4 != 0
    assert float(metrics.accuracy(logits, y, mask=keep)) == pytest.approx((logits.argmax(-1) == y)[keep].mean(), rel=1e-6)
    want = np.exp(float(losses.cross_entropy(logits[keep], y[keep])))
    assert float(metrics.perplexity(logits, y, mask=keep)) == pytest.approx(want, rel=1e-6)
    assert float(metrics.Perplexity()(logits, y, keep)) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("run", [
    lambda: metrics.Accuracy()(jnp.zeros((3, 2)), jnp.zeros((3, 1), jnp.int32)),
    lambda: metrics.Accuracy()(jnp.zeros((3, 2)), jnp.zeros(3)),
    lambda: metrics.Accuracy()(jnp.zeros((3, 2)), jnp.zeros(3, jnp.int32), jnp.ones((3, 2), bool)),
    lambda: metrics.Perplexity()(jnp.zeros((3, 2)), jnp.zeros(4, jnp.int32)),
    lambda: metrics.Confusion(3)(jnp.zeros((3, 2)), jnp.zeros(3, jnp.int32)),
    lambda: metrics.Confusion(3)(jnp.zeros((3, 1), jnp.int32), jnp.zeros(3, jnp.int32)),
    lambda: metrics.AUC()(jnp.zeros((3, 1)), jnp.zeros(3, jnp.int32)),
    lambda: metrics.AUC()(jnp.zeros(3), jnp.zeros(3)),
    lambda: metrics.scores(jnp.zeros((2, 3), jnp.int32)),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(run):
    with pytest.raises(ValueError, match=r"takes|shape|mask|confusion matrix"):
        run()


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: metrics.Accuracy(0), "Accuracy(top): found 0"),
        (lambda: metrics.Confusion(2.5), "Confusion(classes): found 2.5"),
        (lambda: metrics.AUC(0), "AUC(bins): found 0"),
        (lambda: metrics.AUC(low=1.0), "AUC(low, high): found 1.0 and 1.0"),
        (lambda: metrics.scores(jnp.eye(2), "makro"), "scores(average): found 'makro'"),
    ],
)
def test_a_bad_configuration_is_told(run, text):
    with pytest.raises(FdlError) as told:
        run()
    assert str(told.value).startswith(text)
