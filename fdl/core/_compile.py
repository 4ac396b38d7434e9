"""`fdl.jit`: `jax.jit` with the fast options of the backend."""

import functools
from collections.abc import Callable
from typing import Any

import jax

# Barriers stay until code is made: expanded before fusion, as XLA:CPU does it, they keep nothing from being computed again.
# fast: matrix products and reductions by YNNPACK; leaving its convolution out of the list gives XLA's own, which uses every core.
# rare: LLVM's least optimization that keeps the bits of what was compared, initial parameters and batches. once: none at all.
_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}
_OPTIONS = {
    ("cpu", ""): _BARRIERS,
    ("cpu", "fast"): _BARRIERS | {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"},
    ("cpu", "rare"): {"xla_backend_optimization_level": "1"},
    ("cpu", "once"): {"xla_backend_optimization_level": "0"},
}


@functools.cache
def compiler_options(kind: str) -> dict[str, str]:
    """The options of this kind (fast, rare, once) that this process's backend accepts: a trivial program is compiled to find out."""
    options = _OPTIONS.get((jax.default_backend(), kind), {})
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:  # an XLA without the option refuses it by name
        return {}
    return options


def jit(function: Callable[..., Any], *, fast: bool = True, rare: bool = False, **options: Any) -> Any:
    """`jax.jit` for an outermost call: everything that fdl compiles goes through here.

    Takes the options of `jax.jit` (`static_argnums`, `donate_argnums`, ...). Inside another transformation, where JAX
    allows no compiler options, it behaves as `jax.jit` does. The result has `jax.jit`'s `lower`.

    Args:
        function: what to compile.
        fast: whether the backend's fast options are added. They share one pool of threads: without them, small programs
            that run at the same time disturb each other less.
        rare: whether to compile in a third of the time to slower code, for what runs seldom; `fast` is then without
            effect.
        options: as `jax.jit` takes them.
    """
    inner = jax.jit(function, **options)
    outer = functools.cache(
        lambda: jax.jit(function, compiler_options=compiler_options("rare" if rare else "fast" if fast else ""), **options)
    )

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
