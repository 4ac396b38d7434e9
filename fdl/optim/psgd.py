import jax
import jax.numpy as jnp

from fdl.optim._base import Hyperparameter, needed, optimizer, static
from fdl.optim._pieces import debias, rms
from fdl.optim._rule import Treewise, selected
from fdl.optim._wrapper import whole


@optimizer
class PSGD(Treewise):
    r"""Momentum whitened by a Kronecker product of two triangular matrices that learn with the parameters: PSGD-Kron.

    $$m_t = \beta m_{t-1} + (1 - \beta) g_t, \quad \hat m_t = \frac{m_t}{1 - \beta^t}, \qquad
      A = Q_L (\hat m_t + \delta V) Q_R^\top, \quad B = Q_L^{-\top} V Q_R^{-1}, \quad V \sim N(0, 1)$$
    $$Q_L \leftarrow Q_L - \mu \frac{\mathrm{triu}(A A^\top - B B^\top)}{\max|\cdot|}\, Q_L, \qquad
      Q_R \leftarrow Q_R - \mu \frac{\mathrm{triu}(A^\top A - B^\top B)}{\max|\cdot|}\, Q_R$$
    $$W = Q_L^\top Q_L \hat m_t Q_R^\top Q_R, \qquad
      \theta_t = \theta_{t-1} - \mathrm{lr} \left(\min\Big(1, \frac{c}{\mathrm{RMS}(W)}\Big) W + \lambda \theta_{t-1}\right)$$

    At rest $E[A A^\top] = E[B B^\top]$: preconditioned gradients are white. An array of more than two axes is the matrix of all
    axes but the last by the last; vectors and scalars, and sides longer than `max_size`, have diagonal $Q$, products of which
    and `triu` are then of the diagonals alone. Before an update the two are brought to one size: $Q_L / \rho$ and $\rho Q_R$ with
    $\rho^2 = \max \mathrm{diag}\, Q_L / \max \mathrm{diag}\, Q_R$.

    Li 2018, "Preconditioned stochastic gradient descent", section on Kronecker products, whose pairs are gradients and
    random vectors in the whitening form of Pooladzandi & Li 2024, "Curvature-informed SGD via general purpose Lie-group
    preconditioners". Neither optax nor PyTorch has it. State: $m$, and $Q_L$, $Q_R$ of every array.

    Args:
        lr: learning rate, default 0.001.
        momentum: $\beta$, default 0.9.
        preconditioner_lr: $\mu$, default 0.1.
        weight_decay: $\lambda$, default 0.
        damping: $\delta$, default 1e-9: what bounds $Q$ where gradients vanish.
        clip: $c$, default 1.1: white gradients are of size 1, and a larger one meets a $Q$ that is out of date.
        seed: of $V$, default 0.
        max_size: the longest side with a triangular matrix, default 8192.
        decay_only: patterns of the paths that decay, as `core.select` takes them; `"*"` for all.
    """

    lr: Hyperparameter = 1e-3
    momentum: Hyperparameter = 0.9
    preconditioner_lr: Hyperparameter = 0.1
    weight_decay: Hyperparameter = 0.0
    damping: Hyperparameter = 1e-9
    clip: Hyperparameter = 1.1
    seed: Hyperparameter = 0
    max_size: int = static(default=8192)
    decay_only: str | tuple[str, ...] = static(default="*")

    def start(self, p):
        side = lambda n, matrix: jnp.eye(n, dtype=matrix.dtype) if 1 < n <= self.max_size else jnp.ones(n, matrix.dtype)
        both = lambda x: [side(x.shape[0], x), side(x.shape[1], x)]
        Q = [both(_matrix(x)) if x.ndim > 1 else [jnp.ones(1, x.dtype), jnp.ones(x.size, x.dtype)] for x in jax.tree.leaves(p)]
        return {"m": jax.tree.map(jnp.zeros_like, p), "Q": Q}

    def rule(self, t, g, p, state, value, objective):
        m = jax.tree.map(lambda m, g: self.momentum * m + (1 - self.momentum) * g, state["m"], g)
        noise = self._drawn(t, p)
        steps, Q = [], []
        decays = selected(needed(self, "params", p), self.decay_only)
        for x, v, pair, w, decay in zip(*map(jax.tree.leaves, (m, noise)), state["Q"], jax.tree.leaves(p), decays):
            x = debias(self.momentum, t) * _matrix(x)
            left, right = self._moved(x, _matrix(v), *pair)
            white = _times(left, _times(left, x), transposed=True)
            white = _times(right, _times(right, white.T), transposed=True).T.reshape(w.shape)
            white = white * (self.clip / jnp.maximum(self.clip, rms(white)))
            steps.append(-self.lr * (white + self.weight_decay * w if decay else white))
            Q.append([left, right])
        return jax.tree.structure(p).unflatten(steps), {"m": m, "Q": Q}

    def _drawn(self, t, p):
        """$V$ for every array, a function of seed and step alone."""
        key = jax.random.fold_in(jax.random.key(whole(self.seed)), t.astype(jnp.int32))
        leaves, tree = jax.tree.flatten(p)
        keys = jax.random.split(key, len(leaves))
        return tree.unflatten([jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves)])

    def _moved(self, x, v, left, right):
        """Both factors, one step nearer to whitening."""
        rho = jnp.sqrt(_diagonal(left).max() / _diagonal(right).max())
        left, right = left / rho, right * rho
        A = _times(right, _times(left, x + self.damping * v).T).T
        B = _solved(right, _solved(left, v).T).T
        return self._descended(left, A, B), self._descended(right, A.T, B.T)

    def _descended(self, q, A, B):
        slope = (A**2 - B**2).sum(1) if q.ndim == 1 else jnp.triu(A @ A.T - B @ B.T)
        largest = abs(slope).max()
        slope = slope / jnp.where(largest > 0, largest, 1)
        return q - self.preconditioner_lr * _times(slope, q)


def _matrix(x):
    """All axes but the last by the last; a vector is one row."""
    return x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)


def _diagonal(q):
    return q if q.ndim == 1 else jnp.diagonal(q)


def _times(q, x, transposed=False):
    """The product with a matrix, or with a diagonal one that is given as a vector."""
    if q.ndim == 1:
        return q[:, None] * x if x.ndim == 2 else q * x
    return (q.T if transposed else q) @ x


def _solved(q, x):
    r"""$Q^{-\top} x$ of a triangular or diagonal $Q$."""
    return x / q[:, None] if q.ndim == 1 else jax.scipy.linalg.solve_triangular(q, x, trans="T")
