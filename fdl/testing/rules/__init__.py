"""The cases of all optimizers, a family a file, with their rules in NumPy where optax and PyTorch have none."""

from fdl.testing._cases import Case
from fdl.testing.rules import adaptive, classics, free, layerwise, matrix, quasi_newton, wrapped

FAMILIES = (classics, adaptive, layerwise, matrix, quasi_newton, free, wrapped)

CASES: dict[str, Case] = {case.name: case for family in FAMILIES for case in family.CASES}
