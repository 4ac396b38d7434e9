"""`fdl.jit`: `jax.jit` with the fast options of the backend."""

import functools
from collections.abc import Callable
from typing import Any

import jax

# Matrix products and reductions by YNNPACK; leaving its convolution out of the list gives XLA's own, which uses every core.
_FAST = {"cpu": {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}}


@functools.cache
def compiler_options() -> dict[str, str]:
    """The fast compiler options that this process's backend accepts; compiled once on a trivial program to find out."""
    options = _FAST.get(jax.default_backend(), {})
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:  # an XLA without the option refuses it by name
        return {}
    return options


def jit(function: Callable[..., Any], *, fast: bool = True, **options: Any) -> Any:
    """`jax.jit` for an outermost call: everything that fdl compiles goes through here.

    Takes the options of `jax.jit` (`static_argnums`, `donate_argnums`, ...). Inside another transformation, where JAX
    allows no compiler options, it behaves as `jax.jit` does. The result has `jax.jit`'s `lower`.

    Args:
        function: what to compile.
        fast: whether the backend's fast options are added. They share one pool of threads: without them, small programs
            that run at the same time disturb each other less.
        options: as `jax.jit` takes them.
    """
    inner = jax.jit(function, **options)
    outer = functools.cache(lambda: jax.jit(function, compiler_options=compiler_options() if fast else {}, **options))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return outer()(*args, **kwargs)
        except ValueError as error:
            if "compiler_options" not in str(error):
                raise
            return inner(*args, **kwargs)

    call.lower = lambda *args, **kwargs: outer().lower(*args, **kwargs)  # type: ignore[attr-defined]
    return call
