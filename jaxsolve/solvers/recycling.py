"""Recycling: the form of a method that starts with directions of an earlier solve."""

from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.krylov.deflated_cg import DeflatedCG
from jaxsolve.solvers.krylov.gcro_dr import GCRODR
from jaxsolve.solvers.krylov.gmres import GMRES
from jaxsolve.solvers.krylov.kept_space import AbstractRecycling
from jaxsolve.solvers.method import AbstractMethod


def recycling(method: AbstractMethod, count: int) -> AbstractRecycling:
    """The method with so many directions kept."""
    if isinstance(method, CG):
        return DeflatedCG(count)
    if isinstance(method, GMRES):
        return GCRODR(method.restart, count)
    raise ValueError(f"`{method.name}` keeps no directions from solve to solve; 'CG' and 'GMres' do.")
