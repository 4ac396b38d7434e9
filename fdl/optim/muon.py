from typing import Any

import jax
import jax.numpy as jnp

from fdl.core import matches
from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._optax import fit
from fdl.optim._rule import Leafwise, safe_sqrt, selected
from fdl.optim.adamw import AdamW
from fdl.optim.nadam import NAdamW

EMBEDDINGS_AND_HEADS = ("table", "*embedding*", "logits/*", "head/*", "eigenvalues", "peephole")
"""Names of matrices that are no hidden layer's: looked up by row, next to the loss, or rows of gains."""


@optimizer
class Muon(Leafwise):
    r"""Momentum orthogonalised by Newton-Schulz iterations for hidden matrices, AdamW for everything else.

    $$m_t = \mu m_{t-1} + (1 - \mu) g_t, \qquad u_t = \mu m_t + (1 - \mu) g_t, \qquad X_0 = u_t / (\|u_t\|_F + \epsilon)$$
    $$X_{k+1} = a X_k + (b A_k + c A_k^2) X_k, \quad A_k = X_k X_k^\top, \qquad
      \theta_t = \theta_{t-1} - \mathrm{lr}\, (s X_5 + \lambda \theta_{t-1})$$

    With the coefficients (3.4445, -4.7750, 2.0315) five iterations bring every singular value near 1, into 0.7 to 1.2, not to
    1. For a kernel of `inputs` x `outputs`, $s = \sqrt{\max(1, \mathrm{outputs} / \mathrm{inputs})}$, or with `match_rms`
    $0.2 \sqrt{\max(\mathrm{inputs}, \mathrm{outputs})}$, whose steps have the root mean square of Adam's, so that its rate
    and decay serve.

    **Which arrays.** A matrix, and every array of more axes, a convolution's kernel, as the matrix of all axes but the last
    by the last, is orthogonalised, unless a pattern of `adam_for` fits its path. All others (biases, gains, scalars) and
    those that fit get AdamW. Embeddings and the last layer should; fdl's and the usual names of these are the default. A
    classifier whose last layer is a plain `Dense` needs its name here: `adam_for="dense_2/kernel"`.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", whose iterations run in bfloat16, here in
    float32; Liu et al. 2025, "Muon is scalable for LLM training", equation 4, for `match_rms`. The reference's $s$ for
    convolutions is 1, from the kernel's height and width. Equals `torch.optim.Muon`, which takes matrices alone, up to
    bfloat16. `optax.contrib.muon` corrects biases (`as_optax`); by itself it takes every matrix, the embedding and the head
    included, and no convolution. Two slots: $m$ and, for AdamW alone, $v$.

    Args:
        lr: of the orthogonalised, default 0.02.
        momentum: $\mu$, default 0.95.
        eps: $\epsilon$, default 1e-7.
        weight_decay: $\lambda$ of the orthogonalised, default 0.
        rms: the 0.2 of `match_rms`.
        coefficients: $(a, b, c)$.
        adam_lr, adam_b1, adam_b2, adam_eps, adam_weight_decay: of AdamW, default 3e-4, 0.9, 0.95, 1e-10 and 0.
        adam_for: patterns of paths, as `core.select` takes them; `()` for none. Where it is given, each must fit.
        match_rms: whether steps have Adam's size, default no.
        nesterov: whether $u_t$ looks ahead, default yes; else $u_t = m_t$.
        iterations: default 5.
        as_optax: $u_t = \mu m_t / (1 - \mu^{t+1}) + (1 - \mu) g_t / (1 - \mu^t)$, the same mixture in Adam, and `eps` for
            `adam_eps`, default no.

    Raises:
        FdlError: for a pattern that fits no path.
    """

    lr: Hyperparameter = 0.02
    momentum: Hyperparameter = 0.95
    eps: Hyperparameter = 1e-7
    weight_decay: Hyperparameter = 0.0
    rms: Hyperparameter = 0.2
    coefficients: Any = (3.4445, -4.7750, 2.0315)
    adam_lr: Hyperparameter = 3e-4
    adam_b1: Hyperparameter = 0.9
    adam_b2: Hyperparameter = 0.95
    adam_eps: Hyperparameter = 1e-10
    adam_weight_decay: Hyperparameter = 0.0
    adam_for: str | tuple[str, ...] | None = static(default=None)
    match_rms: bool = static(default=False)
    nesterov: bool = static(default=True)
    iterations: int = static(default=5)
    as_optax: bool = static(default=False)
    slots = ("m", "v")

    def hidden(self, params: Any) -> Any:
        """A tree like the parameters: which of them are orthogonalised."""
        tree: Any
        leaves, tree = jax.tree.flatten(params)
        if self.adam_for is None:
            paths = ["/" + jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(params)]
            others = [any(matches(path, pattern) for pattern in EMBEDDINGS_AND_HEADS) for path in paths]
        else:
            others = selected(params, self.adam_for, "Muon(adam_for)") if self.adam_for else [False] * len(leaves)
        return tree.unflatten([p.ndim > 1 and not other for p, other in zip(leaves, others)])

    def each(self, params):
        rule = NAdamW if self.as_optax and self.nesterov else AdamW
        eps = self.eps if self.as_optax else self.adam_eps
        adam = rule(self.adam_lr, self.adam_b1, self.adam_b2, eps, weight_decay=self.adam_weight_decay)
        return [self if hidden else adam for hidden in jax.tree.leaves(self.hidden(params))]

    def start(self, p):
        return jnp.zeros_like(p), ()

    def rule(self, t, g, p, m, v):
        mu = self.momentum
        m = mu * m + (1 - mu) * g
        u, now = m, g
        if self.as_optax:
            u, now = m / (1 - mu ** (t + int(self.nesterov))), g / (1 - mu**t)
        if self.nesterov:
            u = mu * u + (1 - mu) * now
        matrix = u.reshape(-1, u.shape[-1])
        inputs, outputs = matrix.shape
        scale = self.rms * max(inputs, outputs) ** 0.5 if self.match_rms else max(1, outputs / inputs) ** 0.5
        return -self.lr * scale * self.orthogonalised(matrix).reshape(g.shape), m, v

    def orthogonalised(self, x: jax.Array) -> jax.Array:
        """The matrix with singular values near 1, by Newton-Schulz iterations."""
        a, b, c = self.coefficients
        x = x / (safe_sqrt((x**2).sum()) + self.eps)
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        for _ in range(self.iterations):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        return x.T if tall else x

    def finish(self, step, p):
        return step - self.lr * self.weight_decay * needed(self, "params", p)

    def in_optax(self, optax):
        if not self.as_optax:
            return None
        axes = lambda hidden, p: optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1) if hidden else None
        return optax.contrib.muon(
            self.lr, self.coefficients, self.iterations, self.momentum, self.eps, self.weight_decay,
            nesterov=self.nesterov, adam_b1=self.adam_b1, adam_b2=self.adam_b2, adam_weight_decay=self.adam_weight_decay,
            adam_learning_rate=self.adam_lr, consistent_rms=self.rms if self.match_rms else None,
            muon_weight_dimension_numbers=lambda params: jax.tree.map(axes, self.hidden(params), params),
        )  # fmt: skip

    def state_from_optax(self, ours, theirs, step):
        muon, adam = (theirs.inner_states[name].inner_state[0] for name in ("muon", "adam"))
        hidden = self.hidden(ours["m"])
        m = jax.tree.map(lambda own, mine, rest: mine if own else rest, hidden, muon.mu, adam.mu)
        return {"step": jnp.asarray(muon.count), "m": fit(m, ours["m"]), "v": fit(adam.nu, ours["v"])}

    def state_to_optax(self, theirs, ours):
        hidden = self.hidden(ours["m"])
        of = lambda kind: jax.tree.map(lambda own, m: m if own == kind else None, hidden, ours["m"])
        new = {"muon": {"mu": of(True)}, "adam": {"mu": of(False), "nu": ours["v"]}}

        def filled(name: str, part: Any) -> Any:
            first, *rest = part.inner_state
            moved = {slot: fit(values, getattr(first, slot)) for slot, values in new[name].items()}
            return part._replace(inner_state=(first._replace(count=ours["step"], **moved), *rest))

        return theirs._replace(inner_states={name: filled(name, part) for name, part in theirs.inner_states.items()})
