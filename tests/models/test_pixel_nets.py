"""Networks whose output is an image: the variational autoencoder of DeepOBS, and the U-Net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import applier, begin

from fdl import FdlError, models, nn


def test_the_autoencoder_is_deepobs_s_in_size():
    net = models.deepobs_vae()
    params, state = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32))
    count = lambda *parts: sum(leaf.size for leaf in jax.tree.leaves(parts))
    conv, dense = lambda before: 16 * before * 64 + 64, lambda before, after: (before + 1) * after
    encoder, decoder = conv(1) + 2 * conv(64), dense(8, 24) + dense(24, 49) + conv(1) + 2 * conv(64) + dense(14 * 14 * 64, 784)
    assert count(params["encoder"]) == encoder
    assert count(params["means"], params["log_variances"]) == 2 * dense(7 * 7 * 64, 8)
    assert count(params["decoder"]) == decoder
    assert count(params) == 10_151_489
    assert state == {}


class Half(nn.Layer):
    def forward(self, scope, x):
        return x / 2


def test_an_autoencoder_draws_from_what_it_encodes():
    vae = models.VAE(nn.Flatten(), Half(), 3)
    x = jax.random.normal(jax.random.key(0), (400, 2, 2))
    params, state = begin(vae, x)
    (y, means, log_variances), _ = vae.apply(params, state, x, key=jax.random.key(2), train=True)
    noise = np.asarray((2 * y - means) / jnp.exp(log_variances / 2))
    assert means.shape == (400, 3)
    assert abs(noise.mean()) < 0.15  # of 1,200: deviation 0.03
    assert abs(noise.std() - 1) < 0.1  # deviation 0.02
    again, other, fixed = (vae.apply(params, state, x, key=key)[0][0] for key in (jax.random.key(2), jax.random.key(3), None))
    np.testing.assert_array_equal(again, y)
    assert abs(other - y).max() > 0.1
    np.testing.assert_array_equal(fixed, vae.apply(params, state, x)[0][0])  # measured without a key: always the same draw


COUNTS = {None: 116_770, (64, 128, 256, 512, 1024): 31_030_658}  # the latter the paper's: 23 convolutions, one channel, two classes


@pytest.mark.parametrize("features", COUNTS)
def test_a_u_net_has_the_parameters_of_its_convolutions(features):
    net, x = models.UNet(2) if features is None else models.UNet(2, features), jax.ShapeDtypeStruct((2, 32, 48, 1), jnp.float32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == COUNTS[features]
    assert jax.eval_shape(lambda *a: net.apply(*a)[0], params, state, x).shape == (2, 32, 48, 2)


def test_a_u_net_sees_a_pixel_s_surroundings_alone():
    net = models.UNet(2, (4, 6))
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 1))
    (params, state), apply = begin(net, x), applier(net)
    changed = abs(apply(params, state, x)[0] - apply(params, state, x.at[0, 4, 4].add(1))[0]).max((0, 3)) > 0
    assert changed[4, 4]
    assert changed[:8, :8].any()
    assert not changed[16:].any()
    assert not changed[:, 16:].any()
    with pytest.raises(FdlError, match="a side is not divisible by 2"):
        net.init(jax.random.key(1), x[:, :31])
