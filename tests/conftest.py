"""Every test runs with strict dtype promotion, rank promotion refused, full matmul precision and four CPU devices."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture
def float64():
    """64-bit types for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def torch():
    """PyTorch, the reference; where it is missing the test is skipped, and the summary says so."""
    return pytest.importorskip("torch", reason="PyTorch, the reference of this test, is not installed")


@pytest.fixture
def error():
    """The largest difference of two trees, leaf by leaf relative to the largest value (absolute where all are 0); NaN where either has one."""

    def measure(got, want):
        pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
        pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
        assert [a.shape for a, _ in pairs] == [b.shape for _, b in pairs]
        worst = float(np.max([abs(a - b).max() / (abs(b).max() or 1) for a, b in pairs]))
        print(f"error {worst:.1e}")
        return worst

    return measure
