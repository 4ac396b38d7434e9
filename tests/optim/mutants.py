"""Wrong rules, made from the right ones by replacing one piece of their source."""

import inspect
import sys

import jax.numpy as jnp


def mutate(ours, old, new):
    """An optimizer like `ours` in whose class `old`, which must stand there once, is replaced by `new`."""
    cls = type(ours)
    source = inspect.getsource(cls)
    assert source.count(old) == 1, f"{cls.__name__} holds {old!r} {source.count(old)} times: bring the list of mutants up to date"
    names = {**vars(sys.modules[cls.__module__]), "jnp": jnp}
    exec(source.replace(old, new), names)
    return names[cls.__name__](**vars(ours))


MUTANTS = [
    # case, what is wrong, piece of the source, its replacement
    ("sgd", "ascends", "-self.lr * g", "self.lr * g"),
    ("sgd", "rate squared", "-self.lr * g", "-self.lr * self.lr * g"),
    ("sgd", "rate over t", "-self.lr * g", "-self.lr / t * g"),
    ("sgd", "sign only", "-self.lr * g", "-self.lr * jnp.sign(g)"),
    ("momentum", "ascends", "-self.lr", "self.lr"),
    ("momentum", "mean instead of sum", "+ g\n", "+ (1 - self.momentum) * g\n"),
    ("momentum", "rate inside the buffer", "+ g\n", "+ self.lr * g\n"),
    ("momentum", "nesterov on", "if self.nesterov", "if True"),
    ("momentum", "buffer before the step", "else b)", "else (b - g) / self.momentum)"),
    ("momentum", "momentum 1", "self.momentum * b + g", "b + g"),
    ("momentum", "first step scaled as the others", "else b)", "else b * (1 - self.momentum**t))"),
    ("nesterov", "nesterov off", "if self.nesterov", "if False"),
    ("nesterov", "momentum left out ahead", "self.momentum * b if", "b if"),
    ("nesterov", "gradient left out ahead", "(g + self.momentum * b if", "(self.momentum * b if"),
    ("adagrad", "ascends", "-self.lr", "self.lr"),
    ("adagrad", "starts at 0.1", "(jnp.full_like(p, self.initial_accumulator),)", "(jnp.full_like(p, 0.1),)"),
    ("adagrad", "eps inside the root", "if self.eps_in_sqrt else safe", "if True else safe"),
    ("adagrad", "eps squared inside the root", "safe_sqrt(G) + self.eps", "safe_sqrt(G + self.eps**2)"),
    ("adagrad", "absolute value for square", "g**2", "abs(g)"),
    ("adagrad", "mean instead of sum", "G + g**2", "G + (g**2 - G) / t"),
    ("adagrad", "sum before the step", "safe_sqrt(G) + self.eps", "safe_sqrt(jnp.maximum(G - g**2, 0)) + self.eps"),
    ("adagrad", "no root", "safe_sqrt(G) + self.eps", "G + self.eps"),
    ("adagrad", "no eps", "safe_sqrt(G) + self.eps", "safe_sqrt(G) + 1e-30"),
    ("adagrad-optax", "starts at 0", "(jnp.full_like(p, self.initial_accumulator),)", "(jnp.zeros_like(p),)"),
    ("adagrad-in-sqrt", "eps outside the root", "if self.eps_in_sqrt else safe", "if False else safe"),
    ("adadelta", "ascends", "-self.lr", "self.lr"),
    ("adadelta", "D before the step", "safe_sqrt(ratio)", "safe_sqrt((D + self.eps) / (E + self.eps))"),
    ("adadelta", "E after the step", "(E + self.eps)", "((E - (1 - self.rho) * g**2) / self.rho + self.eps)"),
    ("adadelta", "D gathers g", "* ratio * g**2", "* g**2"),
    ("adadelta-slow", "D gathers the step with the rate", "* ratio * g**2", "* self.lr**2 * ratio * g**2"),
    ("adadelta", "D and E exchanged", "* g, E, D", "* g, D, E"),
    ("adadelta", "eps outside the upper root", "(D + self.eps)", "(safe_sqrt(D) + self.eps) ** 2"),
    ("adadelta", "eps outside the lower root", "(E + self.eps)", "(safe_sqrt(E) + self.eps) ** 2"),
    ("adadelta", "ratio inverted", "(D + self.eps) / (E + self.eps)", "(E + self.eps) / (D + self.eps)"),
    ("adadelta", "sum instead of mean in E", "(1 - self.rho) * g**2", "g**2"),
    ("adadelta", "sum instead of mean in D", "(1 - self.rho) * ratio", "ratio"),
    ("adadelta-slow", "no rate", "-self.lr * safe", "-safe"),
    ("rmsprop", "ascends", "-self.lr", "self.lr"),
    ("rmsprop", "decay exchanged", "self.decay * v + (1 - self.decay) * g**2", "(1 - self.decay) * v + self.decay * g**2"),
    ("rmsprop", "sum instead of mean", "(1 - self.decay) * g**2", "g**2"),
    ("rmsprop", "absolute value for square", "g**2", "abs(g)"),
    ("rmsprop", "eps inside the root", "if self.eps_in_sqrt", "if True"),
    ("rmsprop", "bias correction", "safe_sqrt(square) + self.eps", "safe_sqrt(v / (1 - self.decay**t)) + self.eps"),
    ("rmsprop", "mean before the step", "safe_sqrt(square) + self.eps", "safe_sqrt((v - 0.1 * g**2) / 0.9) + self.eps"),
    ("rmsprop", "no eps", "safe_sqrt(square) + self.eps", "safe_sqrt(square) + 1e-30"),
    ("rmsprop-in-sqrt", "eps outside the root", "if self.eps_in_sqrt", "if False"),
    ("adam", "no bias correction of m", "self.lr / (1 - self.b1**t)", "self.lr"),
    ("adam", "no bias correction of v", "v * (1 / (1 - self.b2**t))", "v"),
    ("adam", "eps inside the root", "safe_sqrt(v_hat) + self.eps", "safe_sqrt(v_hat + self.eps)"),
    ("adam", "eps squared inside the root", "safe_sqrt(v_hat) + self.eps", "safe_sqrt(v_hat + self.eps**2)"),
    ("adam", "eps before the correction", "+ self.eps", "+ self.eps / safe_sqrt(1 - self.b2**t)"),
    ("adam", "no eps", "safe_sqrt(v_hat) + self.eps", "safe_sqrt(v_hat) + 1e-30"),
    ("adam", "Nesterov", "-rate * m", "-rate * (self.b1 * m + (1 - self.b1) * g)"),
    (
        "adam",
        "decays exchanged",
        "(self, t, g, p, m, v):\n",
        "(self, t, g, p, m, v):\n        self = Adam(self.lr, self.b2, self.b1, self.eps)\n",
    ),
    ("adam", "corrections exchanged", "(1 / (1 - self.b2**t))", "(1 / (1 - self.b1**t))"),
    ("adam", "t from 2", "(self, t, g, p, m, v):", "(self, t, g, p, m, v):\n        t = t + 1"),
    ("adam", "t from 0", "(self, t, g, p, m, v):", "(self, t, g, p, m, v):\n        t = t - 1"),
    ("adam", "t from 1, twice", "(self, t, g, p, m, v):", "(self, t, g, p, m, v):\n        t = jnp.maximum(t - 1, 1)"),
    ("adam", "absolute value for square", "g**2", "abs(g)"),
    ("adam", "square of m", "g**2", "m**2"),
    ("adam", "sum instead of mean in m", "(1 - self.b1) * g\n", "g\n"),
    ("adam", "sum instead of mean in v", "(1 - self.b2) * g**2", "g**2"),
    ("adam", "m left out", "-rate * m", "-rate * g"),
    ("adam", "no root", "safe_sqrt(v_hat)", "v_hat"),
    ("adam", "ascends", "-rate", "rate"),
    ("adam", "no rate", "self.lr / (1", "1 / (1"),
]

SAME_RULES = [
    # the same mathematics in other words, which must pass
    ("momentum", "factored", "-self.lr * (g + self.momentum * b if self.nesterov else b)", "-(self.lr * b)"),
    ("adagrad", "reciprocal", "-self.lr * g / root", "-self.lr * (1 / root) * g"),
    ("adadelta", "step squared", "ratio * g**2", "(safe_sqrt(ratio) * g) ** 2"),
    ("rmsprop", "interpolation", "self.decay * v + (1 - self.decay) * g**2", "v + (1 - self.decay) * (g**2 - v)"),
    ("adam", "PyTorch's order", "safe_sqrt(v_hat)", "safe_sqrt(v) / safe_sqrt(1 - self.b2**t)"),
    ("adam", "largest v", "v * (1 / (1 - self.b2**t))", "jnp.maximum(v / (1 - self.b2**t), v)"),
]
