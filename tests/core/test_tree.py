"""Pytrees as flat vectors and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxsolve.core.errors import StructureError
from jaxsolve.core.tree import Packing, inexact

TREES = {
    "array": jnp.arange(6.0).reshape(2, 3),
    "dict": {"velocity": jnp.arange(6.0).reshape(2, 3), "pressure": jnp.arange(4.0)},
    "nested": (jnp.ones(2), [jnp.zeros((1, 1)), {"a": jnp.arange(3.0)}]),
    "empty leaf": (jnp.zeros((0, 3)), jnp.ones(2)),
    "scalar": jnp.asarray(3.0),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_unpacking_undoes_packing(tree):
    packing = Packing.of(tree)
    vector = packing.pack(tree, jnp.float64)
    assert vector.shape == (packing.size,)
    back = packing.unpack(vector)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for leaf, expected in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(leaf, expected)
        assert leaf.dtype == expected.dtype


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_leaves_lie_in_the_order_of_ravel_pytree(tree):
    np.testing.assert_array_equal(Packing.of(tree).pack(tree, jnp.float64), ravel_pytree(tree)[0])


def test_a_real_slot_keeps_a_complex_solution():
    packing = Packing.of(jnp.zeros(3))
    x = jnp.arange(3) * (1 + 2j)
    np.testing.assert_array_equal(packing.unpack(x), x)


def test_a_half_wide_leaf_beside_a_wide_one_keeps_its_dtype():
    tree = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(2, jnp.float64), "c": jnp.ones(1, jnp.int32)}
    packing = Packing.of(tree)
    assert packing.dtype == jnp.float64
    back = packing.unpack(packing.pack(tree, packing.dtype))
    assert (back["a"].dtype, back["b"].dtype, back["c"].dtype) == (jnp.float32, jnp.float64, jnp.float64)


def test_packing_is_differentiable_and_batched():
    packing = Packing.of(TREES["dict"])
    gradient = jax.grad(lambda v: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(packing.unpack(v))))
    v = jnp.arange(10.0)
    np.testing.assert_allclose(gradient(v), 2 * v)
    batch = jax.vmap(packing.unpack)(jnp.stack([v, 2 * v]))
    assert jax.tree.map(jnp.shape, batch) == {"velocity": (2, 2, 3), "pressure": (2, 4)}


def test_a_wrong_structure_is_refused_with_both_structures():
    packing = Packing.of({"a": jnp.zeros(2), "b": jnp.zeros((2, 3))})
    with pytest.raises(
        StructureError, match=r"x0: expected \{'a': array\(2,\), 'b': array\(2, 3\)\}, got array\(8,\)"
    ):
        packing.check(jnp.zeros(8), "x0")


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([jnp.int32], jnp.float64),
        ([jnp.float32, jnp.int32], jnp.float32),
        ([jnp.float32, jnp.complex64], jnp.complex64),
        ([jnp.float64, jnp.complex64], jnp.complex128),
        ([jnp.bool_], jnp.float64),
        ([], jnp.float64),
    ],
)
def test_the_common_dtype_is_inexact_and_no_wider_than_needed(dtypes, expected):
    assert inexact(*[jnp.dtype(d) for d in dtypes]) == expected


def test_a_real_vector_of_parts_takes_no_complex_value_for_a_real_leaf():
    packing = Packing.of((jnp.ones(2), jnp.ones(2, complex)), split=True)
    assert packing.vector_dtype(*packing.dtypes) == np.float64
    with pytest.raises(StructureError, match="complex values where the leaf is real"):
        packing.pack((1j * jnp.ones(2), 1j * jnp.ones(2)), np.float64)
