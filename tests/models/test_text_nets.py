"""Networks of text: the published count, PyTorch's LSTMs, the carried state, and decoding by parts."""

import jax
import jax.numpy as jnp
import numpy as np
from small import applier, begin

from fdl import models, nn, ops

SMALL = models.CharacterModel(7, features=5)


def ids(*shape, below, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, below, shape).astype(np.int32))


def test_the_character_model_is_deepobs_s_in_size():
    params, state = jax.eval_shape(models.CharacterModel(83).init, jax.random.key(0), jax.ShapeDtypeStruct((50, 50), jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 284_499
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2 * 2 * 50 * 128


def test_initial_weights_of_the_character_model_are_glorot_s_over_input_and_recurrent_weights():
    params, _ = begin(models.CharacterModel(83), ids(2, 3, below=83))
    cell = params["lstm_1"]["recurrent_0"]["cell"]
    for weights, limit in (
        (cell["kernel"], np.sqrt(6 / (256 + 512))),
        (cell["recurrent"], np.sqrt(6 / (256 + 512))),
        (params["embedding_0"]["table"], np.sqrt(6 / (83 + 128))),
        (params["logits"]["kernel"], np.sqrt(6 / (83 + 128))),
        (params["logits"]["bias"], np.sqrt(3 / 83)),
    ):
        share = np.asarray(weights).ravel() / limit
        assert abs(share).max() <= 1
        assert abs(share).max() > 0.95
        assert abs(share.std() * np.sqrt(3) - 1) < (0.2 if weights.ndim == 1 else 0.02)
    assert cell["bias"].tolist() == [0] * 128 + [1] * 128 + [0] * 256


def test_the_character_model_is_what_pytorch_computes_with_its_weights(float64, torch):
    x = ids(3, 6, below=7)
    rng, (shapes, state) = np.random.default_rng(1), jax.eval_shape(SMALL.init, jax.random.key(0), x)
    params = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape)), shapes)
    state = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape)), state)
    got, end = applier(SMALL)(params, state, x)

    tensor = lambda a: torch.tensor(np.array(a))
    lstm = torch.nn.LSTM(5, 5, 2, batch_first=True, dtype=torch.float64)
    for i in range(2):
        cell = params[f"lstm_{i}"]["recurrent_0"]["cell"]
        for name, value in (("weight_ih", cell["kernel"].T), ("weight_hh", cell["recurrent"].T), ("bias_ih", cell["bias"])):
            getattr(lstm, f"{name}_l{i}").data = tensor(value)
        getattr(lstm, f"bias_hh_l{i}").data.zero_()
    start = tuple(torch.stack([tensor(state[f"lstm_{i}"][f"carry_{part}"]) for i in range(2)]) for part in range(2))
    y, want_end = lstm(tensor(params["embedding_0"]["table"])[np.array(x)], start)
    want = (y @ tensor(params["logits"]["kernel"]) + tensor(params["logits"]["bias"])).detach().numpy()
    worst = abs(np.asarray(got) - want).max() / abs(want).max()
    print(f"error {worst:.1e}")
    assert worst < 1e-13  # measured 3e-16
    for i in range(2):
        for part in range(2):
            np.testing.assert_allclose(end[f"lstm_{i}"][f"carry_{part}"], want_end[part][i].detach().numpy(), rtol=1e-12)


def test_two_batches_are_one_long_one_and_a_row_that_starts_forgets():
    model = models.CharacterModel(7, features=5, dropout=0.0)
    x = ids(3, 8, below=7)
    params, fresh = begin(model, x)
    assert not any(leaf.any() for leaf in jax.tree.leaves(fresh))
    compiled = applier(model, train=True)
    apply = lambda state, x, *starts: compiled(params, state, x, *starts)
    whole, end = apply(fresh, x)
    first, half = apply(fresh, x[:, :4])
    second, end_by_halves = apply(half, x[:, 4:])
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), end, end_by_halves)
    mixed, _ = apply(half, x[:, 4:], jnp.array([True, False, True]))
    anew, _ = apply(fresh, x[:, 4:])
    np.testing.assert_allclose(mixed, np.stack([anew[0], second[1], anew[2]]), atol=1e-6)


def test_a_translation_ignores_padding_and_what_is_written_later():
    model = models.Seq2Seq(7, 9, 4)
    source, written, lengths = ids(2, 5, below=7), ids(2, 6, below=9, seed=1), jnp.array([3, 5], jnp.int32)
    params, state = begin(model, source, written, lengths)
    apply = applier(model)
    logits, _ = apply(params, state, source, written, lengths)
    assert logits.shape == (2, 6, 9)
    other, _ = apply(params, state, source.at[0, 3:].set(0), written.at[:, 4:].set(0), lengths)
    np.testing.assert_allclose(other[:, :4], logits[:, :4], atol=1e-6)
    assert abs(apply(params, state, source.at[0, 2].add(1) % 7, written, lengths)[0] - logits).max() > 1e-4


def test_greedy_decoding_by_encoder_and_decoder_is_the_whole_model_s():
    model = models.Seq2Seq(7, 9, 4)
    source, lengths = ids(2, 5, below=7), jnp.array([3, 5], jnp.int32)
    params, _ = begin(model, source, source, lengths)
    (memory, carry), _ = applier(model.encoder)(params["encoder"], {}, source, lengths)

    def step(carry, token):
        (logits, carry), _ = model.decoder.apply(params["decoder"], {}, token[:, None], memory, carry, lengths, return_carry=True)
        return logits[:, 0], carry

    start = jnp.zeros(2, jnp.int32)
    decoded = jax.jit(lambda: ops.greedy_decode(step, carry, start, 5))()
    written = jnp.concatenate([start[:, None], decoded.tokens], 1)[:, :-1]
    logits, _ = applier(model)(params, {}, source, written, lengths)
    np.testing.assert_array_equal(logits.argmax(-1), decoded.tokens)


def test_a_caption_depends_on_the_image_and_not_on_words_to_come():
    model = models.Captioner(nn.Sequential(nn.Conv(3, 3), nn.relu, nn.Flatten(), nn.Dense(6)), 9, 4)
    images, written = jax.random.normal(jax.random.key(0), (2, 5, 5, 1)), ids(2, 6, below=9)
    params, state = begin(model, images, written)
    apply = applier(model)
    logits, _ = apply(params, state, images, written)
    assert logits.shape == (2, 6, 9)
    later, _ = apply(params, state, images, written.at[:, 3:].set(0))
    np.testing.assert_allclose(later[:, :3], logits[:, :3], atol=1e-6)
    assert abs(apply(params, state, -images, written)[0] - logits)[:, 0].max() > 1e-4
