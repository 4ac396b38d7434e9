"""Leaves of a tree, chosen by patterns of their paths."""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax

from fdl.core._errors import FdlError


def matches(path: str, pattern: str) -> bool:
    """Whether a shell pattern fits a path such as `/residual_0/body/dense_0/kernel`.

    `*` stands for any characters, `/` included, `?` for one and `[abc]` for one of these. A pattern may leave out the
    first names of a path (`kernel`, `dense_0/kernel`); one that begins with `/` may not.
    """
    return fnmatchcase(path, pattern if pattern.startswith("/") else "*/" + pattern.removeprefix("**/"))


def matching(paths: Sequence[str], patterns: str | Sequence[str], where: str) -> set[str]:
    """The paths that one of the patterns fits; raises `FdlError` with the nearest paths for a pattern that fits none."""
    found: set[str] = set()
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        fitting = {path for path in paths if matches(path, pattern)}
        if not fitting:
            near = difflib.get_close_matches(pattern, dict.fromkeys(paths), n=3, cutoff=0)
            raise FdlError(where, repr(pattern), "a pattern of a path that is there", f"The nearest are {', '.join(near)}." if near else "")
        found |= fitting
    return found


def select(tree: Any, patterns: str | Sequence[str], where: str = "pattern") -> Any:
    """A tree of booleans like `tree`: which leaves' paths fit one of the patterns (`*/bias`, `/dense_0/kernel`, `kernel`).

    It is the mask that weight decay takes: `optax.adamw(1e-3, mask=lambda params: core.select(params, "kernel"))`.

    Args:
        tree: any pytree; a leaf's path is the names that lead to it, each after a `/`.
        patterns: shell patterns as in a list of files. `*` stands for any characters, `/` included; a pattern may leave
            out the first names of a path, unless it begins with `/`.
        where: what an error calls the place.

    Raises:
        FdlError: for a pattern that fits no leaf, with the nearest paths.
    """
    paths = _paths(tree)
    chosen = matching(jax.tree.leaves(paths), patterns, where)
    return jax.tree.map(lambda path: path in chosen, paths)


def group(tree: Any, patterns: Mapping[str, str | Sequence[str]], rest: str = "rest", where: str = "group") -> Any:
    """A tree of group names like `tree`: of each leaf the first group that has a pattern of its path, else `rest`.

    Args:
        tree: any pytree.
        patterns: as `select` takes them, by group.
        rest: the group of all other leaves.
        where: what an error calls the place, before the group's name.

    Raises:
        FdlError: for a pattern that fits no leaf, with the nearest paths, and for a group that those before leave nothing.
    """
    paths = _paths(tree)
    flat = jax.tree.leaves(paths)
    members: dict[str, set[str]] = {}
    for name, wanted in patterns.items():
        found = matching(flat, wanted, f"{where} {name!r}")
        taken = {path: first for first, theirs in reversed(members.items()) for path in theirs}
        if wanted and found <= taken.keys():
            takers = ", ".join(repr(first) for first in members if first in {taken[path] for path in found})
            fix = f"{takers} comes before it and takes {', '.join(sorted(found)[:3])}{', ...' if len(found) > 3 else ''}."
            raise FdlError(f"{where} {name!r}", repr(wanted), "a pattern of a path that the groups before it leave", fix)
        members[name] = found
    return jax.tree.map(lambda path: next((name for name, found in members.items() if path in found), rest), paths)


def _paths(tree: Any) -> Any:
    return jax.tree.map_with_path(lambda path, leaf: "/" + jax.tree_util.keystr(path, simple=True, separator="/"), tree)
