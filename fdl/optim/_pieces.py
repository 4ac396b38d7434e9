"""What rules share: corrections of means, and arrays scaled as a whole."""

import dataclasses

import jax.numpy as jnp

from fdl.optim._rule import Decayed, safe_sqrt, selected


def debias(decay, t):
    r"""$1 / (1 - \beta^t)$, which corrects a mean that began at 0; one number, so that no coordinate needs a division for it."""
    return 1 / (1 - decay**t)


class Layerwise(Decayed):
    """A rule whose step in an array is scaled by norms of the array. A base class.

    A subclass declares `weight_decay`, `decay_only` and `adapt_only`, adds the decay itself, where the norm sees it, and in
    `rule` scales only if `self.adapt_only`, which is `()` for arrays that `adapt_only` does not name.
    """

    def each(self, params):
        adapted = selected(params, self.adapt_only, "adapt_only")
        return [now if scaled else dataclasses.replace(now, adapt_only=()) for now, scaled in zip(super().each(params), adapted)]

    def finish(self, step, p):
        return step


def rms(x):
    """The root of the mean square of all entries."""
    return safe_sqrt((x**2).mean())


def trust_ratio(above, below, where=True):
    """`above / below`; 1 where either is 0, so that arrays of zeros move, too."""
    proper = (above > 0) & (below > 0) & where
    return jnp.where(proper, above / jnp.where(proper, below, 1), 1)
