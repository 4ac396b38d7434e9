"""DeepOBS's nets: the published parameter counts, the initial weights, and 3c3d against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from small import applier, begin

from fdl import models, nn

MNIST, CIFAR = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32), jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
NETS = {
    "logreg": (models.deepobs_logreg(), MNIST, 7_850),
    "mlp": (models.deepobs_mlp(), MNIST, 1_336_610),
    "2c2d": (models.deepobs_2c2d(), MNIST, 3_274_634),
    "3c3d": (models.deepobs_3c3d(), CIFAR, 895_210),
}


@pytest.mark.parametrize("name", NETS)
def test_a_net_has_the_published_number_of_parameters(name):
    net, images, parameters = NETS[name]
    summary = nn.summary(net, images)
    assert summary.total.params == parameters
    assert summary.total.shapes == "[2, 10]"


def start(name):
    net, images, _ = NETS[name]
    params, state = begin(net, jnp.zeros(images.shape))
    assert state == {}
    return {path: jax.tree.map(lambda w: np.asarray(w, np.float64).ravel(), layer) for path, layer in params.items()}


def glorot(shape_in, shape_out):
    return np.sqrt(2 / (shape_in + shape_out))


TRUNCATED = scipy.stats.truncnorm(-2, 2)  # of a parent of deviation 1; its own is 0.8796
START = {  # kernel distributions by layer, as TensorFlow's initializers define them, and the biases' value
    "mlp": ({f"dense_{i}": (TRUNCATED, 0.03) for i in range(4)}, 0),
    "2c2d": (dict.fromkeys(("conv_0", "conv_1", "dense_0", "dense_1"), (TRUNCATED, 0.05)), 0.05),
    "3c3d": (
        {
            "conv_0": (TRUNCATED, glorot(25 * 3, 25 * 64) / TRUNCATED.std()),
            "conv_1": (TRUNCATED, glorot(9 * 64, 9 * 96) / TRUNCATED.std()),
            "conv_2": (TRUNCATED, glorot(9 * 96, 9 * 128) / TRUNCATED.std()),
            "dense_0": (scipy.stats.uniform(-np.sqrt(3), 2 * np.sqrt(3)), glorot(1152, 512)),
            "dense_1": (scipy.stats.uniform(-np.sqrt(3), 2 * np.sqrt(3)), glorot(512, 256)),
            "dense_2": (scipy.stats.uniform(-np.sqrt(3), 2 * np.sqrt(3)), glorot(256, 10)),
        },
        0,
    ),
}


@pytest.mark.parametrize("name", START)
def test_initial_weights_follow_the_distribution_that_deepobs_draws_from(name):
    kernels, bias = START[name]
    params = start(name)
    assert params.keys() == kernels.keys()
    for layer, (distribution, scale) in kernels.items():
        sample = params[layer]["kernel"][:20_000] / scale
        assert scipy.stats.kstest(sample, distribution.cdf).pvalue > 1e-6, layer  # a false alarm once in a million keys
        assert abs(sample).max() <= max(distribution.support()) * (1 + 1e-6)
        assert (params[layer]["bias"] == np.float32(bias)).all()


UNIFORM = scipy.stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))
GLOROT = {  # nets whose every kernel is Glorot's, what it is drawn from at variance 1, and the biases' value
    "allcnnc": (models.all_cnn_c(100), CIFAR, scipy.stats.truncnorm(-2, 2, scale=1 / TRUNCATED.std()), 0.1),
    "wrn": (models.wide_resnet(10, 1), CIFAR, UNIFORM, 0),
    "vae": (models.deepobs_vae(), MNIST, UNIFORM, 0),
}


@pytest.mark.parametrize("name", GLOROT)
def test_every_kernel_of_these_starts_as_glorot_says(name):
    net, images, distribution, bias = GLOROT[name]
    params, _ = begin(net, jnp.zeros(images.shape))
    for path, leaf in jax.tree.leaves_with_path(params):
        sample = np.asarray(leaf, np.float64)
        if path[-1].key == "kernel":
            scale = glorot(np.prod(leaf.shape[:-1]), np.prod(leaf.shape[:-2]) * leaf.shape[-1])
            assert scipy.stats.kstest(sample.ravel()[:20_000] / scale, distribution.cdf).pvalue > 1e-6, path
        else:
            normed = any("batch_norm" in part.key for part in path)
            assert (sample == (path[-1].key == "scale" if normed else np.float32(bias))).all()


def test_logistic_regression_starts_at_zero():
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(start("logreg")))


def test_3c3d_is_what_pytorch_computes_with_its_weights(float64, torch):
    """TensorFlow's "same" pooling of window 3 and stride 2 pads an even side by one place at its end."""
    functional = torch.nn.functional
    net, _, _ = NETS["3c3d"]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)))
    params, _ = begin(net, x)
    params = jax.tree.map(lambda w: w + 0.01 * jnp.asarray(np.random.default_rng(1).normal(size=w.shape)), params)  # biases too
    got, _ = applier(net)(params, {}, x)

    def weights(name):
        kernel = torch.tensor(np.asarray(params[name]["kernel"]))
        return kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T, torch.tensor(np.asarray(params[name]["bias"]))

    y = torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)
    for name, padding in (("conv_0", 0), ("conv_1", 0), ("conv_2", 1)):
        y = functional.conv2d(y, *weights(name), padding=padding).relu()
        y = functional.max_pool2d(functional.pad(y, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    y = y.permute(0, 2, 3, 1).flatten(1)
    for name in ("dense_0", "dense_1"):
        y = functional.linear(y, *weights(name)).relu()
    want = functional.linear(y, *weights("dense_2")).numpy()
    worst = abs(np.asarray(got) - want).max() / abs(want).max()
    print(f"error {worst:.1e}")
    assert worst < 1e-13  # measured 3e-15


def test_a_point_is_its_parameters():
    params, state = models.Point(3).init(jax.random.key(0))
    assert params["point"].tolist() == [1, 1, 1]
    assert models.Point(3).apply(params, state)[0].tolist() == [1, 1, 1]
    assert models.Point(2, nn.initializers.constant(4.0)).init(jax.random.key(0))[0]["point"].tolist() == [4, 4]
