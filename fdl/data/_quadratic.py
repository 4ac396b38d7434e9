import numpy as np

from fdl.data._dataset import Dataset, Split


def quadratic() -> Dataset:
    """Points of DeepOBS's quadratic problems: 1,000 in each split, in 100 dimensions, normal of deviation 0.6 about 0.

    Drawn by NumPy's `RandomState` with seed 42 for training, 43 for test and, as in DeepOBS 1.2, 44 for validation. There
    are no inputs: a model that takes none is a point, and the data, labels float32 `[examples, 100]`, says where to go.
    """
    draw = lambda seed: Split((), np.random.RandomState(seed).normal(0.0, 0.6, (1000, 100)).astype(np.float32))
    return Dataset("quadratic", draw(42), draw(44), draw(43), source="drawn as DeepOBS 1.2 draws it, each split with a seed of its own")
