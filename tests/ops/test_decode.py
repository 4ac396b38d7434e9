"""Decoding: brute force over every sequence of a tiny vocabulary, limits, and frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import FdlError, ops

V, L, END, B = 3, 4, 2, 2


def model(seed=0, vocabulary=V, dtype=np.float32):
    """A recurrence whose logits depend on all tokens before; its carry has a leaf without axes."""
    w, u, out = (
        np.random.default_rng([seed, i]).normal(size=s).astype(dtype) for i, s in enumerate([(vocabulary, 4), (4, 4), (4, vocabulary)])
    )

    def step(carry, token):
        h = jnp.tanh(jnp.asarray(w)[token] + carry["h"] @ jnp.asarray(u))
        return h @ jnp.asarray(out), {"h": h, "steps": carry["steps"] + 1}

    return step


def start(seed=0, batch=B, dtype=np.float32):
    h = np.random.default_rng(seed).normal(size=(batch, 4)).astype(dtype)
    return {"h": jnp.asarray(h), "steps": jnp.zeros((), jnp.int32)}, jnp.arange(batch, dtype=jnp.int32)


def log_probabilities(step, carry, token, sequence):
    """Of each token of a sequence, one step at a time."""
    found = []
    for t in sequence:
        logits, carry = step(carry, token)
        found.append(float(jax.nn.log_softmax(logits)[0, t]))
        token = jnp.array([t], jnp.int32)
    return found


def every_sequence(step, carry, token, end, penalty):
    """All that end, or are of full length, best first: (score, tokens without padding)."""
    run = jax.jit(step)
    found, alive = [], [(0.0, (), carry, token)]
    for n in range(1, L + 1):
        longer = []
        for total, tokens, carry, token in alive:
            logits, new = run(carry, token)
            for t, log_p in enumerate(np.asarray(jax.nn.log_softmax(logits))[0]):
                entry = (total + float(log_p), (*tokens, t), new, jnp.array([t], jnp.int32))
                (found if t == end or n == L else longer).append(entry)
        alive = longer
    return sorted(((total / ((5 + len(tokens)) / 6) ** penalty, tokens) for total, tokens, *_ in found), reverse=True)


def one(carry, token, b):
    return {"h": carry["h"][b : b + 1], "steps": carry["steps"]}, token[b : b + 1]


@pytest.mark.parametrize(("end", "penalty"), [(None, 0.0), (END, 0.0), (END, 0.7), (END, 2.0)])
def test_a_beam_as_wide_as_the_tree_finds_what_brute_force_finds(end, penalty):
    step, (carry, token), beams = model(), start(), V**L
    found = jax.jit(lambda carry, token: ops.beam_search(step, carry, token, L, beams, end=end, length_penalty=penalty))(carry, token)
    for b in range(B):
        want = every_sequence(step, *one(carry, token, b), end, penalty)
        n = len(want)
        scores = np.asarray(found.scores[b])
        assert np.abs(scores[:n] - [s for s, _ in want]).max() < 1e-5  # of scores to 11 in size; measured 1e-6
        assert np.isneginf(scores[n:]).all()
        assert np.diff([s for s, _ in want]).max() < -1e-4  # so the order is beyond rounding
        assert [tuple(row[:k].tolist()) for row, k in zip(np.asarray(found.tokens[b])[:n], found.lengths[b])] == [t for _, t in want]
        if end is not None:
            assert all((row[k:] == end).all() for row, k in zip(np.asarray(found.tokens[b])[:n], found.lengths[b]))


def narrow(step, carry, token, beams, end, penalty):
    """Beam search, written with lists."""
    finished, alive = [], [(0.0, (), carry, token)]
    for n in range(1, L + 1):
        grown = []
        for total, tokens, carry, token in alive:
            logits, new = step(carry, token)
            for t, log_p in enumerate(np.asarray(jax.nn.log_softmax(logits))[0]):
                grown.append((total + float(log_p), (*tokens, t), new, jnp.array([t], jnp.int32)))
        finished += [(s / ((5 + n) / 6) ** penalty, t) for s, t, *_ in grown if t[-1] == end]
        alive = sorted((g for g in grown if g[1][-1] != end), key=lambda g: -g[0])[:beams]
    return sorted(finished + [(s / ((5 + L) / 6) ** penalty, t) for s, t, *_ in alive], reverse=True)[:beams]


@pytest.mark.parametrize("beams", [1, 2, 4])
def test_a_narrow_beam_is_the_search_written_with_lists(beams):
    step, (carry, token) = model(3, 5), start(1)
    found = jax.jit(lambda *a: ops.beam_search(step, *a, L, beams, end=END, length_penalty=0.6))(carry, token)
    run = jax.jit(step)
    for b in range(B):
        want = narrow(run, *one(carry, token, b), beams, END, 0.6)
        n = min(len(want), beams)
        assert [tuple(row[:k].tolist()) for row, k in zip(np.asarray(found.tokens[b])[:n], found.lengths[b])] == [t for _, t in want]
        assert np.abs(np.asarray(found.scores[b])[:n] - [s for s, _ in want]).max() < 3e-6  # measured 3e-7


def test_one_beam_without_an_end_is_greedy_and_more_are_never_worse():
    step, (carry, token) = model(), start()
    run = jax.jit(lambda *a: (ops.greedy_decode(step, *a, 5), ops.beam_search(step, *a, 5, 1), ops.beam_search(step, *a, 5, V**4)))
    greedy, single, wide = run(carry, token)
    assert np.array_equal(single.tokens[:, 0], greedy.tokens)
    assert np.abs(single.scores[:, 0] - greedy.scores).max() < 1e-6  # measured 0
    assert (wide.scores[:, 0] >= greedy.scores - 1e-5).all()


@pytest.mark.parametrize("decode", ["greedy", "sample"])
def test_a_decoding_s_score_is_that_of_its_tokens_and_nothing_follows_the_end(decode):
    step, (carry, token) = model(1), start(2, 6)
    token = token % V
    if decode == "greedy":
        decoded = lambda *a: ops.greedy_decode(step, *a, 6, end=END)
    else:
        decoded = lambda *a: ops.sample_decode(step, *a, 6, key=jax.random.key(0), end=END, temperature=1.7)
    found = jax.jit(decoded)(carry, token)
    tokens, lengths = np.asarray(found.tokens), np.asarray(found.lengths)
    assert len(set(lengths.tolist())) > 1
    run = jax.jit(step)
    for b in range(6):
        n = lengths[b]
        assert END not in tokens[b, : n - 1]
        assert (tokens[b, n:] == END).all()
        assert n == 6 or tokens[b, n - 1] == END
        want = sum(log_probabilities(run, *one(carry, token, b), tokens[b, :n]))
        assert abs(float(found.scores[b]) - want) < 1e-6  # measured 9e-8


def test_in_the_limit_a_draw_is_greedy():
    step, (carry, token) = model(vocabulary=5), start(0, 4)
    limits = [{"temperature": 0.0}, {"temperature": 1e-6}, {"top_k": 1}, {"top_p": 1e-6}, {"top_k": 1, "top_p": 0.5}]

    @jax.jit
    def run(carry, token):
        drawn = [ops.sample_decode(step, carry, token, 8, key=jax.random.key(1), **options) for options in limits]
        return drawn, ops.greedy_decode(step, carry, token, 8)

    drawn, greedy = run(carry, token)
    for found in drawn:
        assert np.array_equal(found.tokens, greedy.tokens)
        assert np.array_equal(found.scores, greedy.scores)


def test_a_longer_decoding_begins_like_a_shorter_one():
    step, (carry, token) = model(), start()
    run = jax.jit(lambda *a: [ops.sample_decode(step, *a, n, key=jax.random.key(3)).tokens for n in (4, 9)])
    short, long = run(carry, token)
    assert np.array_equal(short, long[:, :4])


@pytest.mark.parametrize(
    ("options", "probabilities"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0.5}, np.square([0.5, 0.25, 0.15, 0.1]) / np.square([0.5, 0.25, 0.15, 0.1]).sum()),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.76}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"top_p": 0.74}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 1.0}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_k": 3, "top_p": 0.8}, [2 / 3, 1 / 3, 0, 0]),  # of three, the first two hold 0.83
        ({"top_k": 9}, [0.5, 0.25, 0.15, 0.1]),
    ],
)
def test_what_is_kept_and_how_often_it_is_drawn(options, probabilities):
    order, n = np.array([2, 0, 3, 1]), 20_000
    logits = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1]))[order]
    want = np.array(probabilities)[order]
    step = lambda carry, token: (jnp.broadcast_to(logits, (n, 4)), carry)

    @jax.jit
    def run(token):
        drawn = ops.sample_decode(step, (), token, 1, key=jax.random.key(0), **options).tokens
        return jax.nn.softmax(ops.filter_logits(logits, **options)), drawn

    found, drawn = run(jnp.zeros(n, jnp.int32))
    assert np.abs(found - want).max() < 2e-7  # measured 2e-8
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=4)
    bound = 6 * np.sqrt(n * want * (1 - want))  # six standard deviations: 1 in 5e8
    assert (abs(counts - n * want) <= bound).all()
    assert (counts[want == 0] == 0).all()


def test_of_equal_logits_the_first_are_kept():
    assert np.isfinite(ops.filter_logits(jnp.zeros(5), top_k=2)).tolist() == [True, True, False, False, False]
    assert np.isfinite(ops.filter_logits(jnp.zeros(4), top_p=0.5)).tolist() == [True, True, False, False]


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_make_no_nan(size):
    logits = jnp.array([[size, 0.0, -size], [size, size, size]])
    settings = ({}, {"temperature": 0.0}, {"temperature": 100.0}, {"top_k": 2}, {"top_p": 0.9})
    for found in jax.jit(lambda a: [ops.filter_logits(a, **options) for options in settings])(logits):
        assert not np.isnan(found).any()
        assert np.isfinite(found.max(-1)).all()


def test_settings_may_be_traced_and_mapped_over_and_nothing_is_traced_twice():
    traces, (carry, token), step = [], start(), model(vocabulary=5)

    @jax.jit
    def run(key, temperature, k, p):
        traces.append(1)
        return ops.sample_decode(step, carry, token, 5, key=key, temperature=temperature, top_k=k, top_p=p).tokens

    settings = [(0.5, 2, 0.9), (1.5, 5, 0.5), (1.0, 1, 1.0)]
    loop = [run(jax.random.key(i), *map(jnp.asarray, s)) for i, s in enumerate(settings)]
    assert len(traces) == 1
    keys = jnp.stack([jax.random.key(i) for i in range(3)])
    t, k, p = (jnp.asarray(column) for column in zip(*settings))
    assert np.array_equal(jax.vmap(run)(keys, t, k, p), np.stack(loop))


def test_beam_search_maps_over_models_and_starts():
    weights = np.random.default_rng(5).normal(size=(3, V, V)).astype(np.float32)

    def run(w, token):
        step = lambda carry, token: (w[token] + carry, carry + 0.1 * w[0][None])
        return ops.beam_search(step, jnp.zeros((B, V)), token, L, 3, end=END, length_penalty=0.5)

    tokens = jnp.array([[0, 1], [1, 2], [2, 0]], jnp.int32)
    mapped = jax.jit(jax.vmap(run))(weights, tokens)
    single = jax.jit(run)
    loop = [single(jnp.asarray(w), t) for w, t in zip(weights, tokens)]
    for i, want in enumerate(loop):
        assert np.array_equal(mapped.tokens[i], want.tokens)
        assert np.array_equal(mapped.lengths[i], want.lengths)
        assert np.abs(mapped.scores[i] - want.scores).max() < 1e-6  # measured 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_scores_are_in_float32_at_least(float64, dtype):
    step = lambda carry, token: (carry, carry)
    logits = jax.ShapeDtypeStruct((2, 3), dtype)
    for run in (
        ops.greedy_decode,
        lambda *a: ops.sample_decode(*a, key=jax.random.key(0), top_p=0.5),
        lambda *a: ops.beam_search(*a, 2, end=1),
    ):
        found = jax.eval_shape(lambda logits, run=run: run(step, logits, jnp.zeros(2, jnp.int32), 3), logits)
        assert found.scores.dtype == (jnp.float64 if dtype == jnp.float64 else jnp.float32)
        assert {found.tokens.dtype, found.lengths.dtype} == {jnp.dtype(jnp.int32)}


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: ops.filter_logits(jnp.zeros(3), -1.0), "filter_logits(temperature): found -1.0"),
        (lambda: ops.filter_logits(jnp.zeros(3), float("nan")), "filter_logits(temperature): found nan"),
        (lambda: ops.filter_logits(jnp.zeros(3), top_k=0), "filter_logits(top_k): found 0"),
        (lambda: ops.filter_logits(jnp.zeros(3), top_p=0.0), "filter_logits(top_p): found 0.0"),
        (lambda: ops.filter_logits(jnp.zeros(3), top_p=1.5), "filter_logits(top_p): found 1.5"),
        (lambda: ops.greedy_decode(model(), *start(), 0), "decoding, length: found 0"),
        (lambda: ops.greedy_decode(model(), start()[0], jnp.zeros((2, 1), jnp.int32), 3), "decoding, start: found int32(2, 1)"),
        (lambda: ops.greedy_decode(model(), start()[0], jnp.zeros(2), 3), "decoding, start: found float32(2,)"),
        (lambda: ops.beam_search(model(), *start(), 3, 0), "beam_search(beams): found 0"),
    ],
)
def test_mistakes_are_told(run, text):
    with pytest.raises(FdlError) as told:
        run()
    assert str(told.value).startswith(text)
