"""Single layers, forward and backward: fdl beside Flax Linen and PyTorch, where installed.

    python experiments/bench_layers.py [--only conv5 depthwise ...] [--seconds 0.5] [--rounds 5]

The mean square of a layer's outputs and its gradients by parameters and input, on four batches: fdl within one `lax.scan`, as its
training runs, Linen so and from a Python loop. Everyone has the same weights and must find the same values, or is not timed.
Recurrent layers are in bench_training.py: its character models are two of them, an embedding and a head.

Measured on two cores with AVX-512, jax 0.10.2 and PyTorch 2.13, as multiples of PyTorch's best form and of Linen's: conv5 0.98 and 2.2,
conv3 1.21 and 1.9, narrow 0.83 and 1.1, on 2 x 2 maps 0.93 and 12, strided 0.80 and 1.3, conv1 1.2 and 2.0, the first convolution
0.70 and 0.85, depthwise 0.59 and 7.6, max pooling 0.67 to 1.26 and 2.6 to 3.3, dense 1.0 and 0.9, attention 0.58 and 1.0; batch
norm, whose variance takes a pass of its own for its digits, 0.54 and 0.38. Convolutions of many channels run at 0.9 to 1.0 of the
rate of matrix products; inside a scan Linen's at 0.01.
"""

from functools import partial

import _bench as bench
import _peers_layers as peers
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from fdl import core, nn, ops

LAYERS = {
    # layer, inputs
    "conv5": (nn.Conv(64, 5), (128, 14, 14, 32)),
    "conv3": (nn.Conv(64, 3), (32, 32, 32, 64)),
    "conv3 narrow": (nn.Conv(512, 3), (32, 4, 4, 512)),
    "conv3 on 2x2": (nn.Conv(256, 3), (32, 2, 2, 256)),
    "conv3 strided": (nn.Conv(128, 3, 2), (32, 32, 32, 64)),
    "conv1": (nn.Conv(128, 1), (32, 16, 16, 64)),
    "first conv": (nn.Conv(32, 5), (128, 28, 28, 1)),
    "max pool 2": (nn.MaxPool(2), (128, 28, 28, 32)),
    "max pool 3/2": (nn.MaxPool(3, 2, "SAME"), (128, 28, 28, 64)),
    "batch norm": (nn.BatchNorm(), (32, 32, 32, 64)),
    "dense": (nn.Dense(1024), (128, 3136)),
}
DEPTHWISE, ATTENTION, BATCHES = (32, 32, 32, 64), (16, 128, 4, 32), 4


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(size=(BATCHES, *shape)).astype("f")


def repeated(apply, params, batches, scan, jit=jax.jit):
    """A call that gives the value on every batch; parameters move a little, so that nothing is left out."""

    def step(params, x):
        value, (grads, gradient) = jax.value_and_grad(lambda params, x: (apply(params, x) ** 2).mean(), (0, 1))(params, x)
        params = jax.tree.map(lambda p, g: p - 1e-6 * g, params, grads)
        return params, (value, gradient)

    batches, params = jnp.asarray(batches), jax.tree.map(jnp.asarray, params)
    if scan:
        run = jit(partial(jax.lax.scan, step))
        return lambda: np.asarray(jax.block_until_ready(run(params, batches))[1][0])
    single = jit(step)

    def loop():
        now, found = params, []
        for x in batches:
            now, out = single(now, x)
            found.append(out)
        return np.asarray([value for value, _ in jax.block_until_ready(found)])

    return loop


def torch_repeated(apply, weights, batches):
    import torch

    inputs = [torch.tensor(x, requires_grad=True) for x in batches]

    def run():
        found = []
        for x in inputs:
            value = (apply(x) ** 2).mean()
            gradients = torch.autograd.grad(value, [*weights, x])
            with torch.no_grad():
                for w, g in zip(weights, gradients):
                    w -= 1e-6 * g
            found.append(value.detach())
        return np.asarray(found)

    return run


def layer_rows(layer, shape):
    batches, net = draw(*shape), nn.Sequential(layer)
    params, state = net.init(jax.random.key(0), batches[0])
    ours = lambda params, x: net.apply(params, state, x, train=True)[0]

    def linen(scan):
        apply, theirs, their_state = peers.linen(net, params, state, batches[0])
        return repeated(lambda params, x: apply(params, their_state, x)[0], theirs, batches, scan)

    def pytorch(layout):
        import torch

        module = peers.torch(net, params, state, batches[0]).to(memory_format=getattr(torch, layout))
        first = [x.transpose(0, 3, 1, 2) if x.ndim == 4 else x for x in batches]
        first = [np.ascontiguousarray(x) for x in first] if layout == "contiguous_format" else first
        return torch_repeated(module, list(module.parameters()), first)

    return rows(
        ours, params, batches, linen, {"PyTorch, contiguous": "contiguous_format", "PyTorch, channels-last": "channels_last"}, pytorch
    )


def depthwise_rows():
    batches = draw(*DEPTHWISE)
    kernel = {"kernel": np.random.default_rng(1).normal(size=(3, 3, 1, DEPTHWISE[-1])).astype("f")}
    groups = DEPTHWISE[-1]
    ours = lambda params, x: ops.conv(x, params["kernel"], groups=groups)

    def linen(scan):
        from flax import linen as fl

        net = fl.Conv(groups, (3, 3), feature_group_count=groups, use_bias=False)
        return repeated(lambda params, x: net.apply({"params": params}, x), kernel, batches, scan)

    def pytorch(_):
        import torch

        weight = torch.tensor(kernel["kernel"].transpose(3, 2, 0, 1).copy(), requires_grad=True)
        apply = lambda x: torch.nn.functional.conv2d(x, weight, padding=1, groups=groups)
        return torch_repeated(apply, [weight], [np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for x in batches])

    return rows(ours, kernel, batches, linen, {"PyTorch": None}, pytorch)


def attention_rows():
    batches = draw(*ATTENTION)
    ours = lambda _, x: ops.attention(x, x, x)

    def linen(scan):  # what Flax calls is JAX's own
        return repeated(lambda _, x: jax.nn.dot_product_attention(x, x, x), {}, batches, scan)

    def pytorch(_):
        import torch

        apply = lambda x: torch.nn.functional.scaled_dot_product_attention(*[x.transpose(1, 2)] * 3)
        return torch_repeated(apply, [], batches)

    return rows(ours, {}, batches, linen, {"PyTorch": None}, pytorch)


def rows(ours, params, batches, linen, torch_forms, pytorch):
    made = {"fdl, scan": lambda _: repeated(ours, params, batches, True, core.jit)}
    made |= {"JAX: Linen, Python loop": lambda _: linen(False), "JAX: Linen, scan": lambda _: linen(True)}
    return made | {name: lambda _, form=form: pytorch(form) for name, form in torch_forms.items()}


def cost(layer, shape):
    """FLOPs of the forward pass and of both gradients."""
    return 3 * nn.summary(layer, jax.ShapeDtypeStruct(shape, "float32")).total.flops


def main(only: tuple[str, ...] = (), seconds: float = 0.5, rounds: int = 5) -> None:
    """Args: only: layers. seconds: of each row and round. rounds: medians of."""
    print(bench.header())
    every = {name: (partial(layer_rows, *made), cost(*made)) for name, made in LAYERS.items()}
    every["depthwise"] = depthwise_rows, 3 * 2 * 9 * np.prod(DEPTHWISE)
    every["attention"] = attention_rows, 3 * 2 * 2 * np.prod(ATTENTION) * ATTENTION[1]
    for name in only or every:
        make, flops = every[core.choose("--only", name, {name: name for name in every})]
        bench.table(name, bench.agreeing(make(), None), float(flops), seconds, rounds)


if __name__ == "__main__":
    tyro.cli(main)
