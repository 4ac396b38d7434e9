"""`fdl.core.jit` is `jax.jit`, wherever it stands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdl.core import _compile, compiler_options, jit

X = jnp.arange(4.0)


@jit
def cube(x):
    """Third power."""
    return x * x * x


TRANSFORMS = {
    "plain": lambda f: f(X),
    "grad": lambda f: jax.grad(lambda x: f(x).sum())(X),
    "second grad": lambda f: jax.vmap(jax.grad(jax.grad(f)))(X),
    "jvp": lambda f: jax.jvp(f, (X,), (X,)),
    "linearize": lambda f: jax.linearize(f, X)[1](X),
    "vmap": lambda f: jax.vmap(f)(X),
    "jit": lambda f: jax.jit(lambda x: f(x) + 1)(X),
    "fdl.jit": lambda f: jit(lambda x: f(x) + 1)(X),
    "scan": lambda f: jax.lax.scan(lambda c, x: (c + f(x), f(c)), jnp.float32(0), X),
    "cond": lambda f: jax.lax.cond(X[0] < 1, f, jnp.negative, X),
    "map": lambda f: jax.lax.map(f, X),
    "remat": lambda f: jax.grad(lambda x: jax.checkpoint(f)(x).sum())(X),
    "grad of scan of vmap": lambda f: jax.grad(lambda x: jax.lax.scan(lambda c, _: (c + jax.vmap(f)(x), None), x, None, length=2)[0].sum())(
        X
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_it_gives_what_the_plain_function_gives_under(name):
    got, want = (TRANSFORMS[name](f) for f in (cube, lambda x: x * x * x))
    assert jax.tree.all(jax.tree.map(np.array_equal, got, want))


def test_it_traces_abstractly():
    assert jax.eval_shape(cube, X).shape == (4,)
    assert "mul" in str(jax.make_jaxpr(cube)(X))


def test_the_second_call_does_not_trace_again():
    traces = []

    @jit
    def f(x):
        traces.append(x.shape)
        return x + 1

    f(X), f(X + 1), f(X)
    assert traces == [(4,)]
    f(jnp.zeros(5))
    assert traces == [(4,), (5,)]


def test_name_and_docstring_are_the_function_s():
    assert (cube.__name__, cube.__doc__) == ("cube", "Third power.")


def test_lower_compiles_ahead_of_time():
    assert np.array_equal(cube.lower(X).compile()(X), X**3)
    assert np.array_equal(cube.lower(jax.ShapeDtypeStruct((4,), jnp.float32)).compile()(X), X**3)


def test_donated_arguments_are_given_up_and_others_kept():
    f = jit(lambda a, b: a + b, donate_argnums=0)
    a, b = X + 1, X + 2
    assert np.array_equal(f(a, b), 2 * X + 3)
    assert a.is_deleted()
    assert not b.is_deleted()


def test_static_arguments_pass_through():
    f = jit(lambda x, n, up=True: x**n if up else x, static_argnums=1, static_argnames="up")
    assert np.array_equal(f(X, 2), X**2)
    assert np.array_equal(f(X, 2, up=False), X)
    assert np.array_equal(jax.vmap(lambda x: f(x, 3))(X), X**3)


def test_a_function_s_own_value_error_passes_through():
    @jit
    def f(x):
        raise ValueError("not the compiler_options" if x.ndim else "scalar")

    for x, text in ((X, "not the compiler_options"), (X[0], "scalar")):
        with pytest.raises(ValueError, match=text):
            f(x)


@pytest.fixture
def fresh_probe():
    """`compiler_options` forgets what it found, before and after the test."""
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def test_the_options_are_probed_once_and_reach_every_compilation(fresh_probe, monkeypatch):
    seen, plain = [], jax.jit

    def spy(function, **options):
        seen.append(options.get("compiler_options"))
        return plain(function, **options)

    monkeypatch.setattr(jax, "jit", spy)
    first, second = jit(jnp.sin), jit(jnp.cos)
    for _ in range(2):
        first(X), second(X)
    asked = _compile._OPTIONS.get((jax.default_backend(), "fast"), {})
    given = compiler_options("fast")
    assert given in (asked, {})
    assert [options for options in seen if options is not None] == [asked, given, given]  # one probe, two functions


def test_an_option_that_xla_does_not_know_is_left_out(fresh_probe, monkeypatch):
    monkeypatch.setattr(_compile, "_OPTIONS", {(jax.default_backend(), "fast"): {"xla_no_such_option": "1"}})
    assert compiler_options("fast") == {}
    assert np.array_equal(jit(lambda x: x + 1)(X), X + 1)


def test_what_is_compiled_for_rare_use_computes_the_same():
    draw = lambda key: (jax.random.permutation(key, 1000), jax.random.truncated_normal(key, -2, 2, (50, 20)))
    for got, want in zip(jit(draw, rare=True)(jax.random.key(3)), jit(draw, fast=False)(jax.random.key(3))):
        assert np.array_equal(got, want)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an option of XLA:CPU")
@pytest.mark.parametrize("fast", [True, False])
def test_a_barrier_keeps_what_is_behind_it_from_being_fused_into_its_users(fast):
    def twice(x):
        y = jax.lax.optimization_barrier(x + 1)
        return y.T * 2, y * 3

    assert "opt-barrier" in jit(twice, fast=fast).lower(X).compile().as_text()
