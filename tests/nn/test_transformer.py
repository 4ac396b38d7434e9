"""TransformerBlock against PyTorch's encoder and decoder layers, and its own laws."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from fdl import FdlError, nn

KEY = jax.random.key(0)
B, T, S, F, H, HIDDEN = 3, 5, 4, 6, 2, 7
LENGTHS, CONTEXT_LENGTHS = np.array([5, 2, 4], np.int32), np.array([1, 4, 3], np.int32)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def fitted(layer, *inputs, dtype=np.float64):
    """Params as after some training: no bias is 0, no scale 1, and none like another."""
    leaves, form = jax.tree.flatten(jax.eval_shape(layer.init, KEY, *inputs)[0])
    return jax.tree.unflatten(form, [0.7 * draw(*leaf.shape, seed=9 + i).astype(dtype) for i, leaf in enumerate(leaves)])


@jax.jit(static_argnums=0)
def pull_back(layer, params, lengths, context_lengths, *floats):
    """Output and the gradients of params, x and context, with the cotangent cos(0, 1, 2, ...)."""
    run = lambda params, x, context=None: layer.apply(params, {}, x, lengths, context, context_lengths)[0]
    y, pull = jax.vjp(run, params, *floats)
    return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))


def leaves_of(module):
    """A PyTorch layer's parameters by our path: tensors, and which rows of them."""
    table, third = {}, slice(None)
    attentions = {"attention": module.self_attn, "cross_attention": getattr(module, "multihead_attn", None)}
    norms = dict(zip((n for n, a in attentions.items() if a is not None), (module.norm1, module.norm2), strict=False))
    norms["feed_forward"] = module.norm3 if hasattr(module, "norm3") else module.norm2
    for name, norm in norms.items():
        table |= {(f"{name}_norm", "scale"): (norm.weight, third), (f"{name}_norm", "bias"): (norm.bias, third)}
    for name, attention in attentions.items():
        if attention is not None:
            for i, part in enumerate(("query", "key", "value")):
                rows = slice(i * F, (i + 1) * F)
                table |= {(name, part, "kernel"): (attention.in_proj_weight, rows), (name, part, "bias"): (attention.in_proj_bias, rows)}
            out = attention.out_proj
            table |= {(name, "out", "kernel"): (out.weight, third), (name, "out", "bias"): (out.bias, third)}
    for i, dense in enumerate((module.linear1, module.linear2)):
        table |= {("feed_forward", f"dense_{i}", leaf): (t, third) for leaf, t in (("kernel", dense.weight), ("bias", dense.bias))}
    return table


@pytest.mark.parametrize(
    ("kind", "activation"),
    [("encoder", "gelu"), ("padded encoder", "relu"), ("causal", "relu"), ("decoder", "gelu"), ("padded decoder", "relu")],
)
def test_it_is_pytorch_s_layer_with_every_gradient(float64, torch, error, kind, activation):
    decoder, padded = "decoder" in kind, "padded" in kind
    causal = decoder or kind == "causal"
    gelu = lambda x: nn.gelu(x, approximate=False)
    layer = nn.TransformerBlock(H, HIDDEN, causal, activation={"relu": nn.relu, "gelu": gelu}[activation])
    floats = [draw(B, T, F), draw(B, S, F, seed=1)][: 1 + decoder]
    lengths, context_lengths = (LENGTHS, CONTEXT_LENGTHS) if padded else (None, None)
    params = fitted(layer, floats[0], lengths, *floats[1:])
    y, grads, *dfloats = pull_back(layer, params, lengths, context_lengths if decoder else None, *floats)

    kinds = torch.nn.TransformerDecoderLayer if decoder else torch.nn.TransformerEncoderLayer
    module = kinds(F, H, HIDDEN, 0.0, activation, batch_first=True, norm_first=True, dtype=torch.float64)
    table = leaves_of(module)
    assert set(table) == {tuple(k.key for k in path) for path, _ in jax.tree.leaves_with_path(params)}
    with torch.no_grad():
        for path, (tensor, rows) in table.items():
            leaf = params
            for name in path:
                leaf = leaf[name]
            tensor[rows] = torch.tensor(leaf.T)
    tensors = [torch.tensor(a, requires_grad=True) for a in floats]
    future = torch.triu(torch.ones(T, T, dtype=torch.bool), 1) if causal else None
    behind = lambda n, time: None if n is None else torch.tensor(np.arange(time)[None] >= n[:, None])
    if decoder:
        masks = {"tgt_key_padding_mask": behind(lengths, T), "memory_key_padding_mask": behind(context_lengths, S)}
        ty = module(*tensors, tgt_mask=future, **masks)
    else:
        ty = module(*tensors, src_mask=future, src_key_padding_mask=behind(lengths, T))
    if padded:
        ty = torch.where(behind(lengths, T)[..., None], 0, ty)
    ty.backward(torch.cos(torch.arange(ty.numel(), dtype=ty.dtype)).reshape(ty.shape))
    want = jax.tree.map(np.zeros_like, params)
    for path, (tensor, rows) in table.items():
        node = want
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = tensor.grad[rows].numpy().T
    for name in {"attention", "cross_attention"} & params.keys():  # the softmax does not see the keys' bias: rounding alone
        assert error(grads[name]["key"].pop("bias"), np.zeros(F)) < 2e-13  # measured 2e-14
        want[name]["key"].pop("bias")
    assert error((y, grads, dfloats), (ty.detach().numpy(), want, [t.grad.numpy() for t in tensors])) < 4e-14  # measured 4e-15


def test_the_padded_sequence_is_the_cut_one_whatever_stands_behind_its_end_and_its_context_s(float64, error):
    layer = nn.TransformerBlock(3, HIDDEN, rotary=True, norm=nn.RMSNorm())
    x, context = draw(B, T, F), draw(B, S, 3, seed=1)
    params = fitted(layer, x, LENGTHS, context)
    behind, behind_context = (
        np.arange(a.shape[1])[None, :, None] >= n[:, None, None] for a, n in ((x, LENGTHS), (context, CONTEXT_LENGTHS))
    )
    spoilt = np.where(behind, np.nan, x), np.where(behind_context, np.nan, context)
    y, grads, *dfloats = pull_back(layer, params, LENGTHS, CONTEXT_LENGTHS, *spoilt)
    assert not any(np.where(*pair, 0).any() for pair in ((behind, y), (behind, dfloats[0]), (behind_context, dfloats[1])))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    run = jax.jit(lambda x, context: layer.apply(params, {}, x, None, context)[0])
    for b, (n, m) in enumerate(zip(LENGTHS, CONTEXT_LENGTHS, strict=True)):
        assert error(y[b : b + 1, :n], run(x[b : b + 1, :n], context[b : b + 1, :m])) < 5e-15  # measured 3e-16


def test_a_causal_block_lets_nothing_through_from_the_future_but_sees_its_whole_context():
    layer = nn.TransformerBlock(H, causal=True)
    x, context = draw(1, T, F).astype(np.float32), draw(1, S, 3, seed=1).astype(np.float32)
    params = fitted(layer, x, None, context, dtype=np.float32)
    run = lambda x, context: layer.apply(params, {}, x, None, context)[0][0].sum(-1)
    seen, seen_context = (np.asarray(abs(j[:, 0]).sum(-1)) > 0 for j in jax.jit(jax.jacrev(run, (0, 1)))(x, context))
    assert np.array_equal(seen, np.tril(np.ones((T, T), bool)))
    assert seen_context.all()


def test_dropout_falls_on_weights_on_the_hidden_layer_and_on_what_each_part_adds(error):
    layer, rate = nn.TransformerBlock(H, 50, dropout=0.25, activation=nn.sigmoid), 0.25
    x, context = draw(20, T, F).astype(np.float32), draw(20, S, 3, seed=1).astype(np.float32)
    params = fitted(layer, x, None, context, dtype=np.float32)
    tap = jax.jit(lambda key: nn.tap(layer, params, {}, x, None, context, key=key, train=True)[::2])
    y, taps = jax.tree.map(np.asarray, tap(KEY))
    parts = ("/attention", "/cross_attention", "/feed_forward")
    before = {f"{part}_dropout": taps[part] for part in parts} | {"/feed_forward/dropout_0": taps["/feed_forward/sigmoid_0"]}
    before |= {f"{part}/dropout": None for part in parts[:2]}  # of weights, which have no path
    assert before.keys() == {path for path in taps if "dropout" in path.split("/")[-1]}
    for path, value in before.items():
        zero = taps[path] == 0
        low, high = scipy.stats.binom.interval(1 - 1e-6, zero.size, rate)
        assert low <= zero.sum() <= high, path
        if value is not None:
            assert error(taps[path], np.where(zero, 0, value / (1 - rate))) < 1e-6  # measured 1e-7
    assert error(y, x + sum(taps[f"{part}_dropout"] for part in parts)) < 1e-6  # measured 1e-7
    still, plain = (jax.jit(block.apply)(params, {}, x, None, context)[0] for block in (layer, replace(layer, dropout=0.0)))
    assert np.array_equal(still, plain)


def test_what_does_not_fit_is_told():
    for make, told in (
        (lambda: nn.TransformerBlock(0), r"heads"),
        (lambda: nn.TransformerBlock(2, 0), r"TransformerBlock\(hidden\): found 0"),
        (lambda: nn.TransformerBlock(2, dropout=1.0), r"Dropout\(rate\): found 1.0"),
        (lambda: nn.TransformerBlock(4).init(KEY, jnp.zeros((1, 2, 6))), r"layer /attention: .*a multiple of 4 heads"),
        (lambda: nn.TransformerBlock(2).init(KEY, jnp.zeros((2, 6))), r"layer /: .*x is \[batch, time, features\], not \(2, 6\)"),
    ):
        with pytest.raises(FdlError, match=told):
            make()
