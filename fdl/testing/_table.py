"""The table of equivalence: a row for each optimizer and reference, as text, Markdown and CSV."""

import csv
import importlib.metadata
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax

from fdl import optim
from fdl.testing._cases import Case
from fdl.testing.equivalence import TOLERANCE, Comparison

HEADS = ("case", "reference", *(f"a step, {dtype}" for dtype in TOLERANCE), "free run, float64")


class Line(NamedTuple):
    """One case beside one reference: deviations by dtype, of single steps and of a free run; `None` where it was not compared."""

    case: str
    reference: str
    deviations: tuple[Comparison | None, ...]

    @property
    def equal(self) -> bool:
        return all(found is None or found.equal for found in self.deviations)

    @property
    def texts(self) -> list[str]:
        """The line's cells; what is beyond its tolerance says so."""
        shown = lambda c: (
            ""
            if c is None
            else f"{c.deviation:.1e}"
            if c.equal and c.deviation
            else "0"
            if c.equal
            else f"{c.deviation:.1e} > {c.tolerance:.0e}"
        )
        return [self.case, self.reference, *map(shown, self.deviations)]


def _text(found: Comparison | None) -> str:
    if found is None:
        return ""
    figure = f"{found.deviation:.1e}" if found.deviation else "0"
    return figure if found.equal else f"{figure} > {found.tolerance:.0e}"


def lines(comparisons: Iterable[Comparison]) -> list[Line]:
    """Comparisons of one case or several, gathered by case and reference."""
    table: dict[tuple[str, str], dict[str, Comparison]] = {}
    for found in comparisons:
        column = "free" if found.how.endswith(" steps") else found.dtype
        table.setdefault((found.case, found.reference), {})[column] = found
    return [Line(*key, tuple(row.get(column) for column in (*TOLERANCE, "free"))) for key, row in table.items()]


def device() -> str:
    """What the comparisons run on, and the versions compared."""
    versions = []
    for package in ("jax", "optax", "torch"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package).partition('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} is not installed")
    return f"{jax.devices()[0].device_kind}, {', '.join(versions)}"


def markdown(table: Sequence[Line], cases: dict[str, Case]) -> str:
    """A page's table, with every case's settings below it."""
    rows = [f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS), *(f"| {' | '.join(line.texts)} |" for line in table)]
    named = dict.fromkeys(line.case for line in table)
    settings = [f"- {name}: `{cases[name].ours!r}`" for name in named]
    return "\n".join([f"Device and versions: {device()}.", "", *rows, "", "Settings:", "", *settings, ""])


def costs() -> str:
    """What a step of each optimizer costs, at its defaults: gradients, and bytes of state a parameter of a float32 matrix and bias."""
    params = {"kernel": jax.ShapeDtypeStruct((512, 256), "float32"), "bias": jax.ShapeDtypeStruct((256,), "float32")}
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    rows = []
    for name, cls in sorted(optim.named.items()):
        optimizer = cls()
        state = jax.tree.leaves(jax.eval_shape(optimizer.init, params))
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in state) / count
        rows.append(f"| `{cls.__name__}` | `{name}` | {size:.2f} | {optimizer.gradients_per_step:g} |")
    return "\n".join(["| optimizer | name in commands | bytes of state a parameter | gradients a step |", "|---|---|---|---|", *rows, ""])


def comma_separated(comparisons: Sequence[Comparison]) -> str:
    """A row for every comparison, with the tolerance and the device."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*Comparison._fields, "device"])
    writer.writerows([*row, device()] for row in comparisons)
    return out.getvalue()
