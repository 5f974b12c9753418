"""FieldSplit: a preconditioner by fields of the unknown, and by the Schur complement of two of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import require_one_of
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import Packing
from jaxsolve.front.request import AUTO, Solve, as_preconditioner, is_recipe, preconditioner_name
from jaxsolve.front.structures import Structures
from jaxsolve.linear.auto import choose
from jaxsolve.linear.field_blocks import cut, facts_of, without_diagonal
from jaxsolve.linear.field_sweeps import Sweeps
from jaxsolve.linear.fields import IndexSet, named_sets, require_partition
from jaxsolve.linear.preparation import given
from jaxsolve.linear.schur_factors import InnerSolve, Negated, SchurComplement, SchurFactors
from jaxsolve.operators.conversion import as_operator, is_function
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.diagonal import Identity
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.ilu.incomplete import ILU
from jaxsolve.preconditioners.multigrid.sparse_products import find, plan_product
from jaxsolve.preconditioners.preconditioner import (
    AbstractPreconditioner,
    as_square,
    reciprocal,
    with_entries,
)
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.direct.dense_factors import LU
from jaxsolve.solvers.host.direct import SparseDirect

KINDS = ("additive", "multiplicative", "symmetric", "schur")
FORMS = ("diagonal", "lower", "upper", "full")
SELFP = "selfp"


class FieldSplit(AbstractPreconditioner):
    """A preconditioner for systems of several fields: one for each field, combined.

    "additive", each field's own block alone; "multiplicative", one field after another on what is left (block
    Gauss-Seidel); "symmetric", there and back; "schur", of two fields, by the factors of A with the Schur complement
    S = A11 - A10 A00⁻¹ A01 in the place of A11: the one for saddle points, where A11 is zero.

    Args:
        blocks: A dictionary from the names of the unknown's top-level leaves (positions in a tuple; a tuple of names
            for several) to recipes, or a list of pairs (indices, recipe) for a flat unknown. A recipe is what
            `Solve(preconditioner=)` takes, or a `js.Solve`: one that factorises, or "auto", is the inverse by factors,
            an iteration is one by iteration, which only "fGMres" bears. Without blocks: unknowns without a diagonal
            entry (where values are known: with a zero there) are the second field of "schur" with "ilu" for both.
        kind: "additive", "multiplicative", "symmetric" or "schur".
        schur: Which factors: "diagonal", "lower", "upper" or "full". "diagonal" is definite where A00 is and S is
            definite of either sign, as `minres` needs it.
        complement: S, of which the second recipe is built: "selfp" for A11 - A10 diag(A00)⁻¹ A01; a matrix or an
            operator, such as a mass matrix of the pressure (of either sign, if its diagonal is known); or a recipe,
            built of "selfp" in the place of the second one, an iterative `js.Solve` for the S of the first recipe.

    Raises:
        StructureError: If a kind or form is unknown, or indices are none; from `build` or a solve, if names are no
            leaves, fields overlap or leave unknowns out, "schur" has other than two fields, a complement or an inverse
            has another shape, or the entries of A are not known.
        ValueError: From a solve, if a field is solved by iteration and the method is another than "fGMres".

    Builds: an operator of shape (n, n) in the dtype of A; "additive" and "symmetric" are symmetric where A and the
        inverses of the fields are.
    Cost: set-up that of the fields and one pass over the entries, application that of the fields and about a product
        ("symmetric" two; "full" the first field twice); memory the blocks of A.
    Source: Benzi, Golub and Liesen (2005), Numerical solution of saddle point problems, section 10; Murphy, Golub and
        Wathen (2000) for the forms.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> def stokes(x):
    ...     u, p = x["u"], x["p"]
    ...     return {
    ...         "u": 4 * u - jnp.roll(u, 1) - jnp.roll(u, -1) + p - jnp.roll(p, 1),
    ...         "p": u - jnp.roll(u, -1) - p,
    ...     }
    >>> b = {"u": jnp.arange(8.0), "p": jnp.ones(8)}
    >>> split = js.FieldSplit({"u": js.Solve("LU"), "p": "jacobi"}, kind="schur")
    >>> info = js.solve_linear_info(stokes, b, js.Solve("GMres", preconditioner=split))
    >>> bool(info.converged), info.x["p"].shape
    (True, (8,))
    """

    name: ClassVar[str] = "field-split"
    cost: ClassVar[str] = "set-up and application those of the fields and a product"
    symmetric: ClassVar[bool] = False
    concrete: ClassVar[bool] = True

    recipes: tuple[Any, ...]
    complement: Any
    keys: tuple[Any, ...] | None = eqx.field(static=True)
    kind: str = eqx.field(static=True)
    schur: str = eqx.field(static=True)

    def __init__(
        self, blocks: Any = None, kind: str = "multiplicative", schur: str = "full", complement: Any = SELFP
    ):
        require_one_of("FieldSplit", "kind", kind, KINDS)
        require_one_of("FieldSplit", "schur", schur, FORMS)
        self.keys, recipes = _pairs(blocks)
        self.recipes = tuple(_recipe(recipe) for recipe in recipes)
        self.kind, self.schur = ("schur" if blocks is None else kind), schur
        self.complement = complement if _is(complement, SELFP) else _recipe(complement)
        if self.kind == "schur" and len(self.recipes) != 2:
            raise StructureError(
                f"FieldSplit: kind='schur' is of two fields; got {len(self.recipes)}. Join some, "
                '{("u", "v"): "amg", "p": "jacobi"}, or nest a FieldSplit as the recipe of one.'
            )

    @property
    def varies(self) -> bool:
        inner = any(isinstance(r, Solve) and not _factorises(r) for r in (*self.recipes, self.complement))
        return inner or super().varies

    def placed(self, unknown: Packing) -> "FieldSplit":
        if self.keys is None or all(isinstance(key, IndexSet) for key in self.keys):
            return self
        return self._on(named_sets(self.keys, unknown))

    def _on(self, sets: tuple[IndexSet, ...]) -> "FieldSplit":
        pairs = list(zip(sets, self.recipes, strict=True))
        return FieldSplit(pairs, self.kind, self.schur, self.complement)

    def build(self, A: Any) -> LinearOperator:
        """The combination of the inverses of the fields."""
        A = as_square(A, self.name)
        matrix: Any = A if A.dense_form is not None else with_entries(A, self.name)
        n = A.shape[0]
        if not n:
            return Identity(n, A.dtype)
        if self.keys is None:
            sparse = with_entries(A, self.name)
            second = without_diagonal(sparse)
            if second.all() or not second.any():
                # One field: nothing to split.
                return _inverse(self.recipes[0], matrix, "the field")
            return self._on((IndexSet(~second), IndexSet(second))).build(A)
        sets = self.keys
        if not all(isinstance(key, IndexSet) for key in sets):
            names = [name for key in sets if not isinstance(key, IndexSet) for name in key]
            raise StructureError(
                f"FieldSplit of the leaves {names} is built by a solve, which knows the structure of the unknown. For "
                "`build(A)` give index sets, FieldSplit([(indices, recipe), ...])."
            )
        require_partition(sets, n)
        facts = facts_of(A)
        return self._schur(matrix, sets) if self.kind == "schur" else self._sweeps(matrix, sets, facts)

    def _sweeps(self, A: Any, sets: tuple[IndexSet, ...], facts: Traits) -> LinearOperator:
        count = range(len(sets))
        own = [cut(A, one, one, facts) for one in sets]
        inverses = tuple(
            _inverse(r, block, f"field {k}")
            for k, (r, block) in enumerate(zip(self.recipes, own, strict=True))
        )

        def needed(i: int, j: int) -> bool:
            return self.kind == "symmetric" or (self.kind == "multiplicative" and j < i)

        blocks = tuple(
            tuple(
                (
                    None
                    if not needed(i, j)
                    else _laid(own[i] if i == j else cut(A, sets[i], sets[j], Traits()))
                )
                for j in count
            )
            for i in count
        )
        visits = {"additive": None, "multiplicative": tuple(count)}.get(self.kind, (*count, *count[-2::-1]))
        alike = self.kind != "multiplicative"
        symmetric, hermitian = (
            alike and getattr(facts, name) and all(getattr(M.traits, name) for M in inverses)
            for name in ("symmetric", "hermitian")
        )
        told = Traits(symmetric=symmetric, hermitian=hermitian)
        return Sweeps(blocks=blocks, inverses=inverses, sets=sets, visits=visits, kind=A.dtype, facts=told)

    def _schur(self, A: Any, sets: tuple[IndexSet, ...]) -> LinearOperator:
        first, second = sets
        facts = facts_of(A)
        own, rest = (cut(A, one, one, facts) for one in sets)
        upper, lower = cut(A, first, second, Traits()), cut(A, second, first, Traits())
        M = _inverse(self.recipes[0], own, "field 0")
        recipe, given_one = self.recipes[1], self.complement
        found = _selfp(own, upper, lower, rest)
        sign = jnp.ones((), found.diagonal().real.dtype)
        if _is_matrix(given_one):
            S = as_operator(given_one, "FieldSplit: complement")
            if S.shape != rest.shape:
                raise StructureError(
                    f"FieldSplit: the complement of field 1, of {len(second)} unknowns, has shape {rest.shape}; got "
                    f"{S.shape}."
                )
            diagonal = S.known_diagonal()
            if diagonal is not None:
                # A mass matrix stands for -S of a saddle point.
                sign = sign * _sign(diagonal) * _sign(found.diagonal())
        else:
            S = found
            if isinstance(given_one, Solve) and not _factorises(given_one):
                exact = (
                    SchurComplement(rest, lower, M, upper)
                    if upper is not None and lower is not None
                    else rest
                )
                S, recipe = exact, given_one
                if recipe.preconditioner is None:
                    inner = _inverse(self.recipes[1], found, "field 1")
                    recipe = eqx.tree_at(
                        lambda s: s.preconditioner, recipe, inner, is_leaf=lambda v: v is None
                    )
            elif not _is(given_one, SELFP):
                recipe = given_one
        inverse = _inverse(recipe, S, "the complement")
        if self.schur == "diagonal":
            # Positive where S is definite.
            sign = sign * _sign(found.diagonal())
        inverse = Negated(inverse, sign)
        coupling = _laid(upper), _laid(lower)
        return SchurFactors(
            coupling=coupling, inverses=(M, inverse), sets=sets, form=self.schur, kind=A.dtype
        )


def _pairs(blocks: Any) -> tuple[tuple[Any, ...] | None, list[Any]]:
    """Keys and recipes of what the user gave."""
    if blocks is None:
        return None, [ILU(), ILU()]
    if isinstance(blocks, Mapping):
        names = [key if isinstance(key, tuple) else (key,) for key in blocks]
        recipes = list(blocks.values())
        _distinct([name for group in names for name in group])
        found = tuple(names), recipes
    elif isinstance(blocks, list | tuple) and all(
        isinstance(b, list | tuple) and len(b) == 2 for b in blocks
    ):
        sets = [one if isinstance(one, IndexSet) else IndexSet(one) for one, _ in blocks]
        found = tuple(sets), [recipe for _, recipe in blocks]
    else:
        raise StructureError(
            "FieldSplit takes a dictionary from names of leaves to recipes, or a list of pairs (indices, recipe); got "
            f"{blocks!r}."
        )
    if not found[1]:
        raise StructureError("FieldSplit needs at least one field; got none.")
    return found


def _distinct(names: list[Any]) -> None:
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise StructureError(
            f"FieldSplit: the leaves {', '.join(twice)} are in two fields; each must be in one."
        )


def _recipe(recipe: Any) -> Any:
    return recipe if isinstance(recipe, Solve) else as_preconditioner(recipe)


def _is(value: Any, word: str) -> bool:
    return isinstance(value, str) and value.replace("_", "-").lower() == word


def _is_matrix(value: Any) -> bool:
    """Whether it is a matrix or an operator, and no recipe."""
    return not (isinstance(value, str | Solve) or value is None or is_recipe(value) or is_function(value))


def _factorises(solve: Solve) -> bool:
    return isinstance(solve.method, str) or not solve.method.preconditioned


def _inverse(recipe: Any, A: Any, place: str) -> LinearOperator:
    """What a recipe makes of a block."""
    if recipe is None:
        return Identity(A.shape[0], A.dtype)
    if isinstance(recipe, str) and recipe == AUTO:
        recipe = choose(A, Solve("GMres", preconditioner=AUTO)).preconditioner
    if isinstance(recipe, Solve):
        if not _factorises(recipe):
            return InnerSolve.of(A, recipe)
        method = recipe.method
        if isinstance(method, str):
            method = LU() if A.dense_form is not None else SparseDirect()
        return method.prepare(A)
    if isinstance(recipe, AbstractPreconditioner):
        return recipe.build(A)
    try:
        return given(recipe, A, Structures.flat(A.shape, A.dtype))
    except StructureError as error:
        raise StructureError(f"FieldSplit, {place} ({preconditioner_name(recipe)}): {error}") from None


def _laid(A: Any) -> Any:
    return None if A is None else A.layout()


def _selfp(own: Any, upper: Any, lower: Any, rest: Any) -> Any:
    """A11 - A10 diag(A00)⁻¹ A01."""
    if upper is None or lower is None:
        return rest
    inverse = reciprocal(own.diagonal())
    if rest.dense_form is not None:
        return DenseMatrix(rest.matrix - (lower.matrix * inverse) @ upper.matrix, rest.traits)
    plan = plan_product(lower.pattern, upper.pattern, rest.pattern)
    scaled = lower.data * inverse[index_array(lower.pattern.indices)]
    values = -plan.multiply(scaled, jnp.asarray(upper.data))
    at = find(plan.pattern, rest.pattern.rows, rest.pattern.indices)
    facts = Traits(symmetric=rest.traits.symmetric, hermitian=rest.traits.hermitian)
    return SparseMatrix(values.at[index_array(at)].add(rest.data), plan.pattern, facts)


def _sign(diagonal: Array) -> Array:
    """1, or -1 where a diagonal is negative on the whole."""
    return jnp.where(jnp.sum(diagonal.real) < 0, -1, 1).astype(diagonal.real.dtype)


PRECONDITIONERS.setdefault(FieldSplit.name, FieldSplit)
