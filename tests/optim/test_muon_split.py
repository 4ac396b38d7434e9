"""Which parameters Muon orthogonalises, and which AdamW moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl import nn, optim
from fdl.core import FdlError

SHAPES = {
    "embedding_0": {"table": (7, 4)},
    "conv_0": {"kernel": (3, 3, 4, 6), "bias": (6,)},
    "dense_0": {"kernel": (6, 5), "bias": (5,)},
    "layer_norm_0": {"scale": (5,)},
    "logits": {"kernel": (5, 3)},
    "temperature": (),
}


def parameters():
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda shape: jnp.asarray(rng.normal(size=shape)), SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def hidden(optimizer):
    paths = jax.tree.leaves_with_path(optimizer.hidden(parameters()))
    return {jax.tree_util.keystr(path, simple=True, separator="/") for path, chosen in paths if chosen}


def test_by_default_hidden_matrices_and_convolutions():
    assert hidden(optim.Muon()) == {"conv_0/kernel", "dense_0/kernel"}


def test_a_head_of_another_name_is_given():
    assert hidden(optim.Muon(adam_for=("dense_0/kernel", "table"))) == {"conv_0/kernel", "logits/kernel"}
    assert hidden(optim.Muon(adam_for=())) == {"embedding_0/table", "conv_0/kernel", "dense_0/kernel", "logits/kernel"}


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(FdlError, match=r"Muon\(adam_for\): found 'dense_9/kernel'; expected a pattern of a path that is there"):
        optim.Muon(adam_for="dense_9/kernel").init(parameters())


def test_the_orthogonalised_step_has_singular_values_near_one_and_the_rest_is_adams(float64):
    params = parameters()
    grads = jax.tree.map(lambda p: jnp.cos(3 * p), params)
    optimizer = optim.Muon(1.0, adam_lr=0.1)
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    for name in ("conv_0", "dense_0"):
        step = np.asarray(updates[name]["kernel"])
        inputs, outputs = np.prod(step.shape[:-1]), step.shape[-1]
        values = np.linalg.svd(step.reshape(-1, outputs), compute_uv=False) / max(1, outputs / inputs) ** 0.5
        assert (values > 0.6).all()
        assert (values < 1.3).all()
        assert state["v"][name]["kernel"] == ()
    first_step_of_adam = -0.1 * np.sign(grads["embedding_0"]["table"])
    np.testing.assert_allclose(updates["embedding_0"]["table"], first_step_of_adam, rtol=1e-6)


def test_a_matrix_moves_as_by_pytorch(torch, float64):
    """PyTorch iterates in bfloat16: some eighths of a per cent of the step. Measured 0.8 per cent."""
    rng = np.random.default_rng(1)
    p = rng.normal(size=(5, 8))
    theirs = torch.tensor(p, requires_grad=True)
    optimizer = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1)
    ours, x = optim.Muon(0.02, weight_decay=0.1), {"kernel": jnp.asarray(p.T)}
    state = ours.init(x)
    for _ in range(3):
        g = rng.normal(size=p.shape)
        theirs.grad = torch.tensor(g)
        optimizer.step()
        x, state = optim.step(ours, {"kernel": jnp.asarray(g.T)}, state, x)
    moved = np.asarray(x["kernel"]).T - p
    apart = np.abs(moved - (theirs.detach().numpy() - p)).max() / np.abs(moved).max()
    print(apart)
    assert apart < 0.03


def test_the_state_goes_to_optax_and_back(float64):
    import optax

    optimizer, params = optim.Muon(as_optax=True), parameters()
    grads = jax.tree.map(jnp.sin, params)
    _, state = optimizer.update(grads, optimizer.init(params), params)
    theirs = optim.state_to_optax(optimizer, state, params)
    back = optim.state_from_optax(optimizer, theirs, params)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), back, state))
    with jax.numpy_dtype_promotion("standard"):
        expected, _ = optim.to_optax(optimizer).update(grads, theirs, params)
    updates, _ = optimizer.update(grads, state, params)
    for ours, wanted in zip(jax.tree.leaves(updates), jax.tree.leaves(expected)):
        np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-12)
    assert isinstance(optax.tree_utils.tree_get(theirs, "ns_coeffs"), jax.Array)


def test_fdls_own_names():
    model = nn.Sequential(nn.Embedding(7, 4), nn.Dense(5), nn.relu, nn.Dense(3))
    params, _ = model.init(jax.random.key(0), jnp.zeros((2, 3), jnp.int32))
    found = jax.tree.leaves_with_path(optim.Muon(adam_for=("table", "dense_1/kernel")).hidden(params))
    assert ["dense_0" in jax.tree_util.keystr(path) for path, own in found if own] == [True]
