"""What stands for an array at the front doors: lists, NumPy's scalars, `__jax_array__`; wrappers are refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO

import jaxsolve as js
from tests.gallery.methods import distance

A = [[2.0, 0], [0, 4.0]]
b = [1.0, 1]
X = [0.5, 0.25]
TIGHT = {"rtol": 1e-12}


class Given:
    """Gives its array when asked."""

    def __init__(self, value):
        self.value = jnp.asarray(value)

    def __jax_array__(self):
        return self.value


class Wrapped(eqx.Module):
    """A value in the manner of quax: a pytree with the face of an array."""

    array: jax.Array
    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: self.array.ndim)

    def materialise(self):
        return self.array


CALLS = {
    "A": lambda v: js.solve_linear(v(A), jnp.array(b)),
    "b": lambda v: js.solve_linear(jnp.array(A), v(b)),
    "b of a function": lambda v: js.solve_linear(lambda x: jnp.array([2.0, 4.0]) * x, v(b)),
    "x0": lambda v: js.solve_linear(jnp.array(A), jnp.array(b), js.Solve("CG", x0=v([0.0, 0]), **TIGHT)),
    "factorize": lambda v: js.factorize(v(A)).solve(v(b)),
    "columns": lambda v: js.solve_linear_many(v(A), v([[1.0, 0], [1, 0]]))[:, 0],
    "preconditioner": lambda v: js.solve_linear(A, b, js.Solve("GMres", preconditioner=v(A), **TIGHT)),
    "from_dense": lambda v: js.solve_linear(js.SparseMatrix.from_dense(v(A)), jnp.array(b)),
    "product": lambda v: js.SparseMatrix.from_dense(jnp.array(A)) @ v([0.25, 0.0625]),
    "explain": lambda v: X if js.explain(v(A), v(b)).facts["shape"] == (2, 2) else None,
    "minimize": lambda v: js.minimize(lambda x: jnp.sum((x - jnp.array(X)) ** 2), js.Solve(x0=v([3.0, 1]), **TIGHT)),
    "least_squares": lambda v: js.least_squares(lambda x: x - jnp.array(X), js.Solve(x0=v([3.0, 1]), **TIGHT)),
    "solve_nonlinear": lambda v: js.solve_nonlinear(lambda x: 2 * x, v([1.0, 0.5]), js.Solve(x0=v(b), **TIGHT)),
    "matrix_from_function": lambda v: js.matrix_from_function(lambda x: x * 0.5, v(b))[0] @ jnp.array([1.0, 0.5]),
    "linearize_operator": lambda v: js.linearize_operator(lambda x: x**2 / 4, v(b)) @ jnp.array([1.0, 0.5]),
}  # fmt: skip


@pytest.mark.few(9)
@pytest.mark.parametrize("kind", [list, Given], ids=["list", "__jax_array__"])
@pytest.mark.parametrize("name", CALLS)
def test_it_is_an_array(name, kind):
    assert distance(CALLS[name](kind), X) < 1e-6


@pytest.mark.parametrize("name", CALLS)
def test_a_wrapper_is_refused_in_words(name):
    with pytest.raises((TypeError, ValueError), match="Wrapped"):
        CALLS[name](lambda value: Wrapped(jnp.asarray(value)))


def test_what_comes_back_is_an_array_not_a_list():
    for x in (js.solve_linear(A, b), js.minimize(lambda x: x @ x, js.Solve(x0=b))):
        assert isinstance(x, jax.Array)
        assert x.shape == (2,)


def test_a_function_of_lists_may_return_lists_of_scalars():
    solve = js.Solve("newton", x0=[1.5, 2.5], rtol=1e-12)
    x = js.solve_nonlinear(lambda x: [x[0] ** 2, x[1] ** 2], [4.0, 9.0], solve)
    assert distance(x, [2.0, 3.0]) < 1e-10
    fit = js.Solve(x0=[1.5, 2.5], rtol=1e-12)
    assert distance(js.least_squares(lambda x: [x[0] - 2, x[1] - 3], fit), [2.0, 3.0]) < 1e-6


def test_scalars_of_numpy_are_numbers():
    solve = js.Solve("CG", rtol=np.float32(1e-12), atol=np.float64(0), max_iterations=np.int64(9))
    assert distance(js.solve_linear(A, [np.float32(1), np.int64(1)], solve), X) < 1e-6
    assert float(js.solve_linear(lambda x: 2 * x, np.float64(3))) == 1.5
    assert distance(js.solve_linear(A, b, js.Solve("CG", rtol=Given(1e-12))), X) < 1e-6
    with pytest.raises(TypeError, match="rtol expects a number"):
        js.Solve(rtol=np.bool_(True))


def test_gradients_pass_what_gives_its_array():
    def energy(k):
        return js.solve_linear(
            Given(k * jnp.array(A)), Given(jnp.array(b) * k**2), js.Solve("GMres", **TIGHT)
        ).sum()

    assert abs(jax.jit(jax.grad(energy))(3.0) - 0.75) < 1e-10


def test_a_sparse_matrix_is_no_right_hand_side():
    with pytest.raises(TypeError, match=r"BCOO of shape .*todense"):
        js.solve_linear(A, BCOO.fromdense(jnp.ones(2)))


def test_modules_of_arrays_are_still_pytrees():
    class State(eqx.Module):
        u: jax.Array
        shape: tuple = eqx.field(static=True, default=(2,))

    x = js.solve_linear(lambda s: State(2 * s.u), State(jnp.ones(2)))
    assert distance(x.u, [0.5, 0.5]) < 1e-6
