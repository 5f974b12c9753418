"""Random programs: nests of transformations around solves by random methods, differentiated in a random order.

Longer, or one program again: `JAXSOLVE_FUZZ_SECONDS=3600 pytest -s -m slow tests/laws/test_programs.py`,
`JAXSOLVE_FUZZ_SEED=17 JAXSOLVE_FUZZ_SECONDS=0 pytest ...`.
"""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery.compositions import COMPOSITIONS, nested
from tests.gallery.derivatives import forward, reverse, scalar
from tests.gallery.families import N, P, V, family
from tests.gallery.interpreter import interpreted
from tests.gallery.methods import made

#: How A may be given.
FORMS = {
    "array": js.solve_linear,
    "position": lambda A, b, solve: js.solve_linear(lambda x, M: M @ x, b, solve, A),
    "keyword": lambda A, b, solve: js.solve_linear(lambda x, M: M @ x, b, solve, M=A),
    "closure": lambda A, b, solve: js.solve_linear(lambda x: A @ x, b, solve),
    "information": lambda A, b, solve: js.solve_linear_info(A, b, solve).x,
    "dict": lambda A, b, solve: js.solve_linear(lambda x, M: {"u": M @ x["u"]}, {"u": b}, solve, A)["u"],
}
#: Orders of differentiation, the first letter innermost.
ORDERS = ["r", "f", "ff", "fr", "rf", "rr", "ffr", "frf", "rrf", "rrr"]


def families_of(name):
    """The kinds of systems that a method solves, as far as derivatives are promised."""
    method = made(name)
    if name in ("tridiagonal", "banded"):
        return [name]
    if "positive_definite" in method.wants or name == "CG-adaptive":
        return ["definite"]
    if method.wants:
        return ["definite", "indefinite"]
    return ["general", "definite", *(["tall", "wide"] if method.rectangular else [])]


def random_step(rng, dtype):
    """A solve of a random family by a random method; the same by a dense formula; and its name."""
    name = str(rng.choice(list(METHODS)))
    kind = str(rng.choice(families_of(name)))
    form = str(rng.choice(list(FORMS))) if kind == "general" else "array"
    solve, systems = js.Solve(made(name), rtol=1e-12), family(kind, dtype)

    def step(p, t, u):
        return loudest(FORMS[form](*systems.system(p, t, u), solve))

    def dense(p, t, u):
        return loudest(systems.solution(p, t, u))

    return step, dense, f"{name} ({kind} {form} {dtype.__name__})"


def loudest(x):
    """A real vector of N numbers from any solution, so that steps fit together."""
    x = jnp.concatenate([jnp.real(x), jnp.imag(x)]) if jnp.iscomplexobj(x) else x
    return jnp.resize(jnp.sin(x), (N,))


def random_program(seed):
    """A real function of p, the same in plain Python, an order of derivatives, and the names of it all."""
    rng = np.random.default_rng(seed)
    order = str(rng.choice(ORDERS))
    menu = [name for name, each in COMPOSITIONS.items() if each.reverse or set(order) == {"f"}]
    # JAX itself cannot save complex numbers under a policy of `checkpoint`.
    dtype = np.float64 if rng.uniform() < 0.6 else np.complex128
    menu = [name for name in menu if dtype is np.float64 or not name.startswith("checkpoint of")]
    first, plain_first, one = random_step(rng, dtype)
    second, plain_second, two = random_step(rng, dtype)
    outer, inner = (
        [str(n) for n in rng.choice(menu, rng.integers(low, high))] for low, high in ((1, 3), (0, 2))
    )
    both = rng.uniform() < 0.5

    def chained(first, second, wrap):
        # The second solve stands inside a nest of its own, and takes what the first found.
        inside = wrap(second)
        if not both:
            return wrap(first)
        return lambda p, t, u: inside(p, t, 0.3 * jnp.sum(first(p, t, u)))

    f = scalar(nested(outer).of, chained(first, second, nested(inner).of))
    plain = scalar(nested(outer).plain, chained(plain_first, plain_second, nested(inner).plain))
    return (
        f,
        plain,
        order,
        f"{order} of {outer} of {one}{f' and {inner} of {two}' if both else f' in {inner}'}",
    )


def in_order(f, order, v):
    """f differentiated along v by each letter, the last as a whole gradient where it is reverse."""
    for letter in order[:-1]:
        f = forward(f, v) if letter == "f" else reverse(f, v)
    return forward(f, v) if order[-1] == "f" else jax.grad(f)


def check(seed):
    f, plain, order, names = random_program(seed)
    v = jnp.asarray(V)
    print(f"seed {seed}: {names}")
    right = interpreted(in_order(plain, "f" * (len(order) - 1) + order[-1], v))(P)
    found = interpreted(in_order(f, order, v))(P)
    error = np.max(np.abs(found - right)) / max(np.max(np.abs(right)), 0.1)
    assert error < 1e-6, f"seed {seed}: {names}: {found} is not {right}"


@pytest.mark.few(1)
@pytest.mark.parametrize("seed", range(4))
def test_random_programs_have_the_derivatives_of_dense_ones(seed):
    check(seed)


@pytest.mark.slow
def test_many_random_programs():
    seconds = float(os.environ.get("JAXSOLVE_FUZZ_SECONDS", "60"))
    seed = int(os.environ.get("JAXSOLVE_FUZZ_SEED", "0")) or int(time.time())
    start, failures = time.monotonic(), []
    while True:
        try:
            check(seed)
        except Exception as error:  # All failures of the time are reported, each with its seed.
            failures.append(
                f"seed {seed}: {random_program(seed)[3]}: {type(error).__name__} {str(error)[:300]}"
            )
        seed += 1
        if time.monotonic() - start > seconds:
            break
    assert not failures, "\n".join(failures)
