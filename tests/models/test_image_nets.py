"""Image networks: the published parameter counts, and a residual network against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import applier, begin

from fdl import FdlError, models, nn

F32 = jnp.float32
GREY, COLOUR, LARGE = ((2, side, side, channels) for side, channels in ((28, 1), (32, 3), (64, 3)))
COUNTS = {  # LeCun 1998 with every map connected; Springenberg 2015; He 2016, table 6 (0.27 to 1.7 million); torchvision; Zagoruyko 2016
    "lenet5": (models.lenet5(), GREY, 61_706),
    "all_cnn_c": (models.all_cnn_c(), COLOUR, 1_369_738),
    "all_cnn_c of 100": (models.all_cnn_c(100), COLOUR, 1_387_108),
    "resnet-20": (models.cifar_resnet(20), COLOUR, 269_722),
    "resnet-32": (models.cifar_resnet(32), COLOUR, 464_154),
    "resnet-44": (models.cifar_resnet(44), COLOUR, 658_586),
    "resnet-56": (models.cifar_resnet(56), COLOUR, 853_018),
    "resnet-110": (models.cifar_resnet(110), COLOUR, 1_727_962),
    "resnet-18, CIFAR": (models.resnet(18, 10, "cifar"), COLOUR, 11_173_962),
    "resnet-18": (models.resnet(18), LARGE, 11_689_512),
    "resnet-34": (models.resnet(34), LARGE, 21_797_672),
    "resnet-50": (models.resnet(50), LARGE, 25_557_032),
    "wrn-16-4": (models.wide_resnet(16, 4), COLOUR, 2_748_890),
    "wrn-28-10": (models.wide_resnet(28, 10), COLOUR, 36_479_194),
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_network_has_the_published_number_of_parameters(name):
    net, shape, parameters = COUNTS[name]
    (params, state), x = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros(shape))), jax.ShapeDtypeStruct(shape, F32)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters
    logits, _ = jax.eval_shape(lambda p, s, x: net.apply(p, s, x, key=jax.random.key(0), train=True), params, state, x)
    assert logits.shape == (2, 1000 if shape == LARGE else 100 if "100" in name else 10)


def test_depths_that_make_no_such_network_are_told():
    for make, message in (
        (lambda: models.cifar_resnet(18), "cifar_resnet(depth): found 18; expected 6n + 2 layers, such as 20, 32, 44, 56 or 110."),
        (lambda: models.wide_resnet(16 + 1, 4), "wide_resnet(depth): found 17; expected 6n + 4 layers, such as 16, 22, 28 or 40."),
        (lambda: models.resnet(101), "resnet(depth): found 101; expected 18, 34 or 50."),
        (lambda: models.resnet(18, stem="cifra"), "resnet(stem): found 'cifra'; expected one of imagenet, cifar.\n  Did you mean 'cifar'?"),
    ):
        with pytest.raises(FdlError) as caught:
            make()
        assert str(caught.value) == message


def test_padding_and_strides_of_a_residual_network_are_pytorch_s(float64, torch):
    """A ResNet-18 in CIFAR form, written out with PyTorch's functions, on 8 x 8 pixels."""
    functional = torch.nn.functional
    rng, net = np.random.default_rng(0), models.resnet(18, 10, "cifar")
    x = jnp.asarray(rng.normal(size=(3, 8, 8, 3)))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    params = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape) / np.sqrt(np.prod(w.shape[:-1], initial=1.0))), shapes[0])
    state = jax.tree.map(lambda w: jnp.asarray(rng.uniform(0.5, 1.5, w.shape)), shapes[1])
    got, _ = applier(net)(params, state, x)

    tensor = lambda a: torch.tensor(np.array(a))

    def conv(y, layer, stride=1):
        kernel = tensor(layer["kernel"]).permute(3, 2, 0, 1)
        return functional.conv2d(y, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def norm(y, layer, kept):
        return functional.batch_norm(y, *(tensor(a) for a in (kept["mean"], kept["var"], layer["scale"], layer["bias"])))

    y = norm(conv(tensor(x).permute(0, 3, 1, 2), params["conv_0"]), params["batch_norm_0"], state["batch_norm_0"]).relu()
    for block in range(8):
        p, s = params[f"residual_{block}"], state[f"residual_{block}"]
        stride = 2 if block in (2, 4, 6) else 1
        z = norm(conv(y, p["body"]["conv_0"], stride), p["body"]["batch_norm_0"], s["body"]["batch_norm_0"]).relu()
        z = norm(conv(z, p["body"]["conv_1"]), p["body"]["batch_norm_1"], s["body"]["batch_norm_1"])
        assert ("shortcut" in p) == (stride == 2)
        if stride == 2:
            y = norm(conv(y, p["shortcut"]["conv_0"], 2), p["shortcut"]["batch_norm_0"], s["shortcut"]["batch_norm_0"])
        y = (y + z).relu()
    want = (y.mean((2, 3)) @ tensor(params["dense_0"]["kernel"]) + tensor(params["dense_0"]["bias"])).numpy()
    worst = abs(np.asarray(got) - want).max() / abs(want).max()
    print(f"error {worst:.1e}")
    assert worst < 1e-13  # measured 1e-15


def test_a_shortcut_without_parameters_takes_every_second_place():
    shortcut = models._residual._Subsample(5, 2)
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    y, _ = shortcut.apply({}, {}, x)
    assert y.shape == (2, 3, 3, 5)
    np.testing.assert_array_equal(y[:, 1, 2, :3], x[:, 2, 4])
    assert not y[..., 3:].any()


def test_lenet_pads_mnist_s_digits_to_32():
    net, small = models.lenet5(), jax.random.normal(jax.random.key(0), (2, 28, 28, 1))
    (params, state), apply = begin(net, small), applier(net)
    large = jnp.pad(small, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(apply(params, state, small)[0], apply(params, state, large)[0], atol=1e-6)


def test_a_wide_unit_s_shortcut_starts_after_its_first_relu():
    unit = models._residual._Wide(4, 2, 0.0)
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    params, state = begin(unit, x)
    params = {**params, "conv_1": {"kernel": jnp.zeros_like(params["conv_1"]["kernel"])}}  # the shortcut alone
    y, _ = applier(unit)(params, state, x)
    want, _ = nn.Conv(4, 1, 2, bias=False).apply(params["shortcut"], {}, jax.nn.relu(x / jnp.sqrt(jnp.float32(1 + 1e-5))))
    assert abs(y - want).max() < 1e-6
