"""MultiHeadAttention and AdditiveAttention against PyTorch and their own laws; embeddings and positions."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import FdlError, nn, ops

KEY = jax.random.key(0)
B, T, S, F, C, H = 2, 5, 4, 6, 3, 2
LENGTHS = np.array([4, 2], np.int32)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def params_like(layer, *inputs, seed=1):
    params, _ = jax.eval_shape(layer.init, KEY, *inputs)
    return jax.tree.map(lambda a: draw(*a.shape, seed=seed).astype(a.dtype) * 0.7, params)


def pull_back(layer, params, *inputs):
    """Output and the gradients of params and floating inputs, with the cotangent cos(0, 1, 2, ...)."""
    floats = [i for i, a in enumerate(inputs) if a is not None and np.issubdtype(a.dtype, np.floating)]

    def run(params, *given):
        given = dict(zip(floats, given, strict=True))
        return layer.apply(params, {}, *[given.get(i, a) for i, a in enumerate(inputs)])[0]

    @jax.jit
    def results(params, *given):
        y, pull = jax.vjp(run, params, *given)
        return y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return results(params, *[inputs[i] for i in floats])


@pytest.mark.parametrize("kind", ["self", "causal", "mask", "context", "padded context", "padded"])
def test_multi_head_attention_is_pytorch_s_with_every_gradient(float64, torch, error, kind):
    layer = nn.MultiHeadAttention(H, causal=kind == "causal")
    context = draw(B, S, C, seed=3) if "context" in kind else None
    lengths = LENGTHS if "padded" in kind else None
    mask = draw(B, H, T, T, seed=4) > -0.8 if kind == "mask" else None
    x = draw(B, T, F)
    params = params_like(layer, x, context, lengths, mask)
    y, grads, *inputs = pull_back(layer, params, x, context, lengths, mask)

    module = torch.nn.MultiheadAttention(
        F, H, batch_first=True, dtype=torch.float64, kdim=None if context is None else C, vdim=None if context is None else C
    )
    names = ("query", "key", "value")
    with torch.no_grad():
        if context is None:
            module.in_proj_weight.copy_(torch.tensor(np.concatenate([params[n]["kernel"].T for n in names])))
        else:
            for n in names:
                getattr(module, f"{n[0]}_proj_weight").copy_(torch.tensor(params[n]["kernel"].T))
        module.in_proj_bias.copy_(torch.tensor(np.concatenate([params[n]["bias"] for n in names])))
        module.out_proj.weight.copy_(torch.tensor(params["out"]["kernel"].T))
        module.out_proj.bias.copy_(torch.tensor(params["out"]["bias"]))
    tx = torch.tensor(x, requires_grad=True)
    tc = tx if context is None else torch.tensor(context, requires_grad=True)
    blocked = None if mask is None else torch.tensor(~mask).reshape(B * H, T, T)
    if kind == "causal":
        blocked = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    keys = T if context is None else S
    padding = None if lengths is None else torch.tensor(np.arange(keys)[None] >= lengths[:, None])
    ty, _ = module(tx, tc, tc, key_padding_mask=padding, attn_mask=blocked, need_weights=False)
    if kind == "padded":
        ty = torch.where(padding[..., None], 0, ty)
    ty.backward(torch.cos(torch.arange(ty.numel(), dtype=ty.dtype)).reshape(ty.shape))
    if context is None:
        kernels = np.split(module.in_proj_weight.grad.numpy(), 3)
    else:
        kernels = [getattr(module, f"{n[0]}_proj_weight").grad.numpy() for n in names]
    biases = np.split(module.in_proj_bias.grad.numpy(), 3)
    want = {n: {"kernel": k.T, "bias": b} for n, k, b in zip(names, kernels, biases, strict=True)}
    want["out"] = {"kernel": module.out_proj.weight.grad.numpy().T, "bias": module.out_proj.bias.grad.numpy()}
    assert error(grads["key"]["bias"], np.zeros(F)) < 5e-14  # the softmax does not see it: rounding alone; measured 6e-15
    del grads["key"]["bias"], want["key"]["bias"]
    wanted = [tx.grad.numpy()] if context is None else [tx.grad.numpy(), tc.grad.numpy()]
    assert error((y, grads, inputs), (ty.detach().numpy(), want, wanted)) < 2e-14  # measured 2e-15


@pytest.mark.parametrize("options", [{}, {"causal": True, "rotary": True}])
def test_the_padded_sequence_is_the_cut_one_whatever_stands_in_its_padding(float64, error, options):
    layer = nn.MultiHeadAttention(H, 4 * H, **options)
    x = draw(B, T, F)
    params = params_like(layer, x)
    padded = np.arange(T)[None, :, None] >= LENGTHS[:, None, None]
    y, grads, dx = pull_back(layer, params, np.where(padded, np.nan, x), None, LENGTHS)
    assert not np.where(padded, y, 0).any()
    assert not np.where(padded, dx, 0).any()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    for b, n in enumerate(LENGTHS):
        cut, _ = jax.jit(layer.apply)(params, {}, x[b : b + 1, :n])
        assert error(y[b : b + 1, :n], cut) < 5e-15  # measured 2e-16


def test_what_stands_behind_a_context_s_end_changes_nothing():
    layer, x, context = nn.MultiHeadAttention(H), draw(B, T, F).astype(np.float32), draw(B, S, C).astype(np.float32)
    params = params_like(layer, x, context)
    padded = np.arange(S)[None, :, None] >= np.minimum(LENGTHS, 3)[:, None, None]
    clean, spoilt = (
        pull_back(layer, params, x, np.where(padded, a, context), np.minimum(LENGTHS, 3)) for a in (np.float32(0.5), np.float32(np.nan))
    )
    assert jax.tree.all(jax.tree.map(np.array_equal, clean, spoilt))


def test_a_sequence_of_length_zero_is_zero_without_nan():
    layer, x = nn.MultiHeadAttention(H), draw(B, T, F).astype(np.float32)
    y, grads, dx = pull_back(layer, params_like(layer, x), x, None, np.array([0, 3], np.int32))
    assert not np.asarray(y[0]).any()
    assert not np.asarray(dx[0]).any()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_causal_attention_lets_nothing_through_from_the_future():
    layer = nn.MultiHeadAttention(H, causal=True, rotary=True, features=8)
    x = draw(1, T, F).astype(np.float32)
    params = params_like(layer, x)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(params, {}, x)[0].sum((0, 2))))(x)  # [output time, 1, input time, feature]
    assert np.array_equal(np.asarray(abs(jacobian).sum((1, 3))) > 0, np.tril(np.ones((T, T), bool)))


def test_without_positions_attention_does_not_see_order(float64, error):
    layer, x, order = nn.MultiHeadAttention(H), draw(B, T, F), np.array([3, 1, 4, 0, 2])
    params = params_like(layer, x)
    run = jax.jit(lambda x: [layer.apply(params, {}, x)[0] for layer in (layer, nn.MultiHeadAttention(1, rotary=True))])
    (mixed, mixed_rotary), (straight, straight_rotary) = run(x[:, order]), run(x)
    assert error(mixed, straight[:, order]) < 5e-15  # measured 2e-16
    assert error(mixed_rotary, straight_rotary[:, order]) > 1e-2


def test_weights_are_dropped_while_training_alone():
    layer, x = nn.MultiHeadAttention(H, dropout=0.5), jnp.asarray(draw(B, T, F), jnp.float32)
    params, state = params_like(layer, x), {}
    still, plain = jax.jit(lambda p: [layer.apply(p, state, x)[0] for layer in (layer, nn.MultiHeadAttention(H))])(params)
    assert np.array_equal(still, plain)
    draw_one = lambda key: layer.apply(params, state, x, key=key, train=True)[0]
    draws = np.asarray(jax.jit(jax.vmap(draw_one))(jax.random.split(KEY, 200)))
    assert not np.array_equal(draws[0], draws[1])
    spread = np.std(draws, axis=0) / np.sqrt(200)
    print((abs(np.mean(draws, axis=0) - still) / spread).max())
    assert (abs(np.mean(draws, axis=0) - still) / spread).max() < 6  # standard errors over 60 values; measured 2.2


def test_a_head_count_that_does_not_divide_is_refused():
    with pytest.raises(FdlError, match=r"MultiHeadAttention\(features\): found 5; expected a multiple of its 2 heads"):
        nn.MultiHeadAttention(2, 5)
    with pytest.raises(FdlError, match=r"Dropout\(rate\): found 1.5"):
        nn.MultiHeadAttention(2, dropout=1.5)
    with pytest.raises(FdlError, match=r"layer /.*a multiple of 4 heads"):
        nn.MultiHeadAttention(4).init(KEY, jnp.zeros((1, 2, 6)))


def test_additive_attention_is_a_loop_over_a_cut_memory(float64, error):
    layer, query, memory = nn.AdditiveAttention(F), draw(B, T), draw(B, S, C, seed=1)
    params = params_like(layer, query, memory)
    padded = np.arange(S)[None, :, None] >= LENGTHS[:, None, None]
    y, grads, dq, dm = pull_back(layer, params, query, np.where(padded, np.nan, memory), LENGTHS)
    w, u, v = params["query"]["kernel"], params["memory"], params["vector"]
    want = np.zeros((B, C))
    for b, n in enumerate(LENGTHS):
        e = np.exp([np.dot(v, np.tanh(query[b] @ w + memory[b, i] @ u["kernel"] + u["bias"])) for i in range(n)])
        want[b] = sum(e[i] / e.sum() * memory[b, i] for i in range(n))
    assert error(y, want) < 5e-15  # measured 1e-16
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((grads, dq, dm)))
    assert not np.where(padded, dm, 0).any()


# Embeddings and positions.


def test_an_embedding_and_its_tied_logits_are_pytorch_s_with_the_table_s_gradient(float64, torch, error):
    @dataclass(frozen=True)
    class Tied(nn.Layer):
        embedding: nn.Embedding

        def forward(self, scope, tokens):
            h = jnp.tanh(scope(self.embedding, tokens, name="embedding"))
            return scope(self.embedding, h, name="embedding", output=True)

    tokens = np.array([[0, 6, 2], [2, 2, 5]], np.int32)
    layer = Tied(nn.Embedding(7, 3, dtype=jnp.float64))
    params = params_like(layer, tokens)
    assert jax.tree.map(jnp.shape, params) == {"embedding": {"table": (7, 3)}}
    y, grads = pull_back(layer, params, tokens)
    table = torch.tensor(params["embedding"]["table"], requires_grad=True)
    ty = torch.tanh(torch.nn.functional.embedding(torch.tensor(tokens, dtype=torch.int64), table)) @ table.T
    ty.backward(torch.cos(torch.arange(ty.numel(), dtype=ty.dtype)).reshape(ty.shape))
    assert error((y, grads["embedding"]["table"]), (ty.detach().numpy(), table.grad.numpy())) < 5e-15  # measured 1e-16


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_tokens_of_any_integer_type(dtype):
    layer = nn.Embedding(256, 2)
    params, _ = layer.init(KEY, np.zeros(1, np.int32))
    tokens = np.array([0, 127, 5], dtype)
    assert np.array_equal(layer.apply(params, {}, tokens)[0], params["table"][np.array([0, 127, 5])])


def test_a_token_out_of_range_gives_nan_and_a_token_that_is_no_integer_an_error():
    layer = nn.Embedding(4, 2)
    params, _ = layer.init(KEY, np.zeros(1, np.int32))
    found = layer.apply(params, {}, np.array([3, 4, -1, -4], np.int32))[0]
    assert np.isnan(found).all(-1).tolist() == [False, True, True, True]
    with pytest.raises(FdlError, match="tokens are integers, not float32"):
        layer.apply(params, {}, np.zeros(3, np.float32))


def test_embedding_starts_with_the_variance_that_it_says():
    table = np.asarray(nn.Embedding(500, 64).init(KEY, np.zeros(1, np.int32))[0]["table"])
    assert abs(table.std() * 8 - 1) < 0.02  # 32000 draws: a standard error of 0.004


def test_positions_are_added(float64, error):
    x = draw(B, T, F)
    assert error(nn.SinusoidalPositions().apply({}, {}, x)[0], x + np.asarray(ops.sinusoidal(T, F, jnp.float64))[None]) < 1e-15
    layer, table = nn.LearnedPositions(9), draw(9, F, seed=1)
    y, grads, dx = pull_back(layer, {"table": table}, x)
    cotangent = np.cos(np.arange(x.size)).reshape(x.shape)
    want = np.concatenate([cotangent.sum(0), np.zeros((4, F))])
    assert error((y, grads["table"], dx), (x + table[:T], want, cotangent)) < 1e-15
    with pytest.raises(FdlError, match=r"layer /.*10 steps, of which LearnedPositions\(9\) knows 9"):
        layer.init(KEY, jnp.zeros((1, 10, 2)))


def test_a_recurrent_decoder_attends_inside_a_scan(float64, error):
    """Every step through `scope.lift` equals a Python loop; the gradient passes."""

    @dataclass(frozen=True)
    class Decoder(nn.Layer):
        scan: bool

        def forward(self, scope, memory, targets):
            cell, attend = nn.GRU(F), nn.AdditiveAttention(3)
            h = jnp.zeros((memory.shape[0], F), memory.dtype)
            a_params, a = scope.lift(attend, h, memory, name="attention")
            c_params, c = scope.lift(cell, h, jnp.concatenate([targets[:, 0], memory[:, 0]], -1), name="cell")
            step = lambda h, x: c(c_params, h, jnp.concatenate([x, a(a_params, h, memory)], -1))
            if self.scan:
                return jax.lax.scan(step, h, targets.swapaxes(0, 1))[1].swapaxes(0, 1)
            outputs = []
            for t in range(targets.shape[1]):
                h, y = step(h, targets[:, t])
                outputs.append(y)
            return jnp.stack(outputs, 1)

    inputs = draw(B, S, C), draw(B, 3, 2, seed=2)
    params = params_like(Decoder(True), *inputs)
    assert error(pull_back(Decoder(True), params, *inputs), pull_back(Decoder(False), params, *inputs)) < 5e-15  # measured 4e-16
