"""Every test runs with strict dtype promotion, rank promotion refused, full matmul precision and four CPU devices."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import jax
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
