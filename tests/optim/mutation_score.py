"""How many wrong rules do the comparisons with references find? Every file of fdl/optim with one piece changed, by machine.

    python tests/optim/mutation_score.py [adam muon ...]

Changed are operators, signs, constants, hyperparameters, slots, bounds and choices, one at a time; a mutant is killed if a
comparison of some case of its class deviates, or fails. Survivors are printed: some are the same mathematics in other words, or
differ only where nothing can be seen (an eps of 1e-30). Takes about a minute for ten rules.
"""

import ast
import contextlib
import copy
import io
import sys
from functools import partial
from pathlib import Path

import jax

from fdl import optim
from fdl.testing import equivalence
from fdl.testing.rules import CASES

SWAPS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
}
CALLS = {"maximum": "minimum", "minimum": "maximum", "sign": "abs", "abs": "sign", "safe_sqrt": "abs", "sqrt": "abs", "square": "abs"}
ELSEWHERE = {"in_optax", "name", "parts", "state_to_optax", "__init__", "__hash__", "__post_init__", "gradients_per_step"}
"""Methods that hold no mathematics of the rule."""


def mutants(source, name, names):
    """(line, what was changed, source) for each change of a class and its file's functions; `names` are hyperparameters."""
    tree = ast.parse(source)
    skip = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name in ELSEWHERE for n in ast.walk(f)}
    own = [part for part in tree.body if not isinstance(part, ast.ClassDef) or part.name == name]
    bodies = [n for part in own for f in ast.walk(part) if isinstance(f, ast.FunctionDef) for s in f.body for n in ast.walk(s)]
    for node in dict.fromkeys(bodies):
        if id(node) in skip:
            continue
        for what, change in changes(node, names):
            kept = copy.copy(vars(node))
            change(node)
            yield node.lineno if hasattr(node, "lineno") else 0, what, ast.unparse(tree)
            vars(node).clear()
            vars(node).update(kept)


def changes(node, names):
    """What can be changed at a node: (description, function that does it in place)."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        yield ast.unparse(node), lambda n: setattr(n, "op", SWAPS[type(n.op)]())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield f"{ast.unparse(node)} without its power", lambda n: setattr(n, "right", ast.Constant(1))
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield ast.unparse(node), lambda n: setattr(n, "ops", [SWAPS[type(n.ops[0])]()])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield f"{ast.unparse(node)} without its sign", lambda n: setattr(n, "op", ast.UAdd())
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} + 1", lambda n: setattr(n, "value", n.value + 1)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in names:
        other = names[(names.index(node.attr) + 1) % len(names)]
        if other != node.attr:
            yield f"self.{other} for self.{node.attr}", lambda n: setattr(n, "attr", other)
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in CALLS:
            to = ast.parse(f"jnp.{CALLS[called]}", mode="eval").body
            yield f"{CALLS[called]} for {called}", lambda n: setattr(n, "func", to)
        if called == "where" and len(node.args) == 3:
            yield f"{ast.unparse(node)} with its choices exchanged", lambda n: setattr(n, "args", [n.args[0], n.args[2], n.args[1]])
    if isinstance(node, ast.IfExp):
        yield f"{ast.unparse(node)} with its choices exchanged", exchange
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names_in(node.value):
        yield f"{node.targets[0].id} left as it was", lambda n: setattr(n, "value", ast.Name(n.targets[0].id, ast.Load()))


def exchange(node):
    node.body, node.orelse = node.orelse, node.body


def names_in(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def killed(case, make):
    """Whether a comparison of this case finds the mutant."""
    try:
        with jax.disable_jit(case.shape == "vector"), contextlib.redirect_stdout(io.StringIO()):
            ours = make(case.ours)
            if (
                case.optax is not None
                and case.forced
                and max(equivalence.one_step(case, "float64", ours).values()) > equivalence.tolerance(case, "optax", "float64")
            ):
                return True
            if (
                case.reference is not None
                and case.forced
                and equivalence.open_loop(case, "float64", ours) > equivalence.tolerance(case, "NumPy", "float64")
            ):
                return True
        measured_elsewhere = type(case.ours).evaluation_params is not optim.Optimizer.evaluation_params
        if not case.free or (case.forced and (case.optax is not None or case.reference is not None) and not measured_elsewhere):
            return False
        return any(
            equivalence.free_run(case, run, ours) > equivalence.tolerance(case, name, "float64")
            for name, run in equivalence.references(case).items()
        )
    except Exception:
        return True


def rebuilt(source, cls, ours):
    """The optimizer with what is of this class in it of the class that this source defines."""
    namespace = {"__name__": cls.__module__}
    exec(compile(source, cls.__module__, "exec"), namespace)
    remade = lambda node: namespace[cls.__name__](**{name: getattr(node, name) for name in cls.__dataclass_fields__})
    of = lambda node: type(node) is cls
    return jax.tree.map(lambda node: remade(node) if of(node) else node, ours, is_leaf=of)


def within(optimizer):
    """The optimizer, and those that it is made of."""
    yield optimizer
    for stage in getattr(optimizer, "stages", ()):
        yield from within(stage)


def main(only):
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    totals = [0, 0]
    classes = dict.fromkeys(type(part) for case in CASES.values() for part in within(case.ours))
    for cls in classes:
        path = Path(sys.modules[cls.__module__].__file__)
        if only and path.stem not in only:
            continue
        cases = [case for case in CASES.values() if any(type(part) is cls for part in within(case.ours))]
        names = [f for f in cls.__dataclass_fields__ if f != "lr" and not cls.__dataclass_fields__[f].metadata.get("static")]
        found, survivors = 0, []
        if any(killed(case, partial(rebuilt, path.read_text(), cls)) for case in cases):
            print(f"{cls.__name__}: the rule as it stands deviates")
            continue
        for line, what, source in mutants(path.read_text(), cls.__name__, names):
            if any(killed(case, partial(rebuilt, source, cls)) for case in cases):
                found += 1
            else:
                survivors.append(f"    {path.stem}.py:{line} {what}")
        totals[0] += found
        totals[1] += found + len(survivors)
        print(f"{cls.__name__}: {found} of {found + len(survivors)}", *survivors, sep="\n", flush=True)
    print(f"killed {totals[0]} of {totals[1]}: {totals[0] / max(totals[1], 1):.1%}")


if __name__ == "__main__":
    main(set(sys.argv[1:]))
