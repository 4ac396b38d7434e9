"""What a mask drops does not count, whatever stands there; extremes; shifts; limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from losses_table import BAD, MASKED, C, N, T, draw, simplex

from fdl import losses


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
