"""`fdl.testing.check_optimizer`: optimizers that break one law each are told which, and `fdl check optimizers` prints and writes."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from fdl import optim, testing
from fdl.core import FdlError
from fdl.testing import optimizers


@optim.optimizer
class Broken(optim.Leafwise):
    """Momentum, and one mistake."""

    lr: float = 0.05
    momentum: float = 0.5
    mistake: str = optim.static(default="")
    slots = ("b", "c")

    def start(self, p):
        zeros = jnp.zeros_like(p)
        return (zeros, zeros if self.mistake == "a shared buffer" else zeros + 1)

    def rule(self, t, g, p, b, c):
        mistake = self.mistake
        momentum = 0.5 if mistake == "a number baked in" else self.momentum
        b = momentum * b + g
        step = -self.lr * b
        if mistake == "a root":
            step = step - 1e-3 * jnp.sqrt(self.lr**2 * g**2)
        if mistake == "ascends":
            step = -step
        if mistake == "noise of its own":
            step = step + 1e-3
        if mistake == "state in 16 bits":
            b = b.astype(jnp.bfloat16).astype(b.dtype)
            c = c.astype(jnp.bfloat16)
        if mistake == "a wrong derivative":
            step = step - jax.lax.stop_gradient(self.lr * b)
        return step, b, c


BREAKS = {
    "a shared buffer": ("state_can_be_donated", "a buffer twice"),
    "a number baked in": ("values_are_traced", ".momentum without influence"),
    "a root": ("derivatives_are_true", "not finite"),
    "ascends": ("converges", "a loss of"),
    "noise of its own": ("nothing_moves_without_gradient", "parameters that move"),
    "state in 16 bits": ("state_is_stable", "a new state"),
    "a wrong derivative": ("derivatives_are_true", "by .lr"),
}


@pytest.mark.parametrize("mistake", BREAKS)
def test_a_broken_optimizer_is_told_which_law_it_breaks(mistake):
    law, found = BREAKS[mistake]
    case = testing.Case("broken", Broken(mistake=mistake), smooth=Broken(mistake=mistake), rates=(0.05, 0.0005))
    with pytest.raises(FdlError, match=f"broken, law '{law}': found.*{found}"):
        optimizers.check(law, case)


def test_one_that_keeps_every_law_passes():
    testing.check_optimizer(Broken(), smooth=Broken(), rates=(0.05, 0.0005))


def test_a_law_may_be_left_out_and_one_that_is_none_is_told():
    testing.check_optimizer(Broken(mistake="ascends"), rates=None, skip={"derivatives_are_true"})
    with pytest.raises(FdlError, match="names of laws: values_are_traced"):
        testing.check_optimizer(Broken(), skip={"converge"})


def test_every_law_is_named_in_the_docstring():
    assert all(f"`{law}`" in testing.check_optimizer.__doc__ for law in optimizers.LAWS)


def test_the_command_prints_and_writes_the_table(tmp_path):
    environment = {**os.environ, "COLUMNS": "100", "XLA_FLAGS": ""}
    command = [sys.executable, "-m", "fdl", "check", "optimizers", "adam", "adagrad-in-sqrt", "--folder", "proof"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "within tolerance" in done.stdout
    page, table = ((tmp_path / "proof" / f"equivalence.{kind}").read_text() for kind in ("md", "csv"))
    assert "| adam | optax |" in page
    assert "`Adam(lr=0.01, b1=0.9, b2=0.999, eps=1e-08)`" in page
    assert table.startswith("case,reference,how,dtype,deviation,tolerance,device\nadam,optax,one step,float64,")


def test_the_command_tells_an_unknown_case(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fdl", "check", "optimizers", "adagrad-warn"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Did you mean 'adagrad-warm'?" in done.stderr
    assert "Traceback" not in done.stderr
