"""Random keys that follow names instead of an order of drawing."""

import zlib
from typing import Any

import jax
import numpy as np


def fold(key: Any, name: str) -> Any:
    """A key of its own for `name`: `fold_in(key, crc32(name))`; `None` stays `None`.

    A path is folded name by name, so that `("ab", "c")` and `("a", "bc")` differ. Because nothing is split in sequence,
    a layer added to a model leaves the weights of all others bit-identical.
    """
    return None if key is None else jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))
