"""Systems of several fields: iterations under refinement, python -m benchmarks.fields [--sizes 16 32 64].

One JSON line a mesh. Stokes on staggered grids of n x n cells to 1e-8: GMres with all of the Schur factors, and minres
with the diagonal ones, multigrid for the velocity and the pressure itself for the complement. Elasticity (plane stress,
bilinear squares, one side fixed) on n x n elements to 1e-5: CG with smoothed aggregation, with rigid motions and
without them. Curl-curl plus a mass on Yee's grid of n x n cells to 1e-8: CG with the nodal auxiliary spaces, with
gradients alone, with "amg".
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sps

import jaxsolve as js
from benchmarks.timing import report
from tests.linear.test_field_split import staggered_stokes
from tests.preconditioners.test_auxiliary_space import yee


def stokes(n: int) -> dict[str, int]:
    A, velocities = staggered_stokes(n)
    N = velocities + n**2
    constants = jnp.concatenate([jnp.zeros(velocities), jnp.ones(N - velocities)])
    b = np.random.default_rng(0).normal(size=N)
    b[velocities:] -= b[velocities:].mean()
    fields = [(np.arange(velocities), "amg"), (np.arange(velocities, N), None)]
    found = {}
    for method, form in (("GMres", "full"), ("minres", "diagonal")):
        split = js.FieldSplit(fields, kind="schur", schur=form, complement=sps.eye_array(N - velocities))
        solve = js.Solve(method, rtol=1e-8, preconditioner=split, null_space=constants)
        found[method] = iterations(A, b, solve)
    return found


def elasticity(n: int) -> dict[str, int]:
    A, coordinates, free = squares(n)
    B = np.asarray(js.rigid_body_modes(coordinates))[free]
    recipes = {"rigid": js.SmoothedAggregation(B=B, block=2), "plain": js.SmoothedAggregation()}
    b = np.ones(A.shape[0])
    return {name: iterations(A, b, js.Solve("CG", preconditioner=M)) for name, M in recipes.items()}


def maxwell(n: int, mass: float) -> dict[str, int]:
    A, G, edges = yee(n, mass)
    b = np.random.default_rng(0).normal(size=A.shape[0])
    recipes = {"nodes": js.AuxiliarySpace(G, edges), "gradients": js.AuxiliarySpace(G), "amg": "amg"}
    solves = {k: js.Solve("CG", rtol=1e-8, preconditioner=M, max_iterations=5000) for k, M in recipes.items()}
    return {name: iterations(A, b, solve) for name, solve in solves.items()}


def squares(n: int, poisson: float = 0.3) -> tuple[Any, np.ndarray, np.ndarray]:
    """Stiffness matrix, coordinates of all nodes, and which components are free."""
    C = np.array([[1, poisson, 0], [poisson, 1, 0], [0, 0, (1 - poisson) / 2]]) / (1 - poisson**2)
    K = np.zeros((8, 8))
    for s, t in np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) / np.sqrt(3):
        slopes = np.array([[t - 1, 1 - t, 1 + t, -1 - t], [s - 1, -1 - s, 1 + s, 1 - s]]) / 4
        strain = np.zeros((3, 8))
        strain[0, 0::2], strain[1, 1::2], strain[2, 0::2], strain[2, 1::2] = *slopes, *slopes[::-1]
        K += strain.T @ C @ strain
    nodes = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    corners = np.stack([nodes[:-1, :-1], nodes[1:, :-1], nodes[1:, 1:], nodes[:-1, 1:]], -1).reshape(-1, 4)
    at = (2 * corners[:, :, None] + np.arange(2)).reshape(-1, 8)
    places = np.repeat(at, 8, axis=1).ravel(), np.tile(at, (1, 8)).ravel()
    A = sps.coo_array((np.tile(K.ravel(), len(at)), places)).tocsr()
    sides = np.linspace(0, 1, n + 1)
    coordinates = np.stack(np.meshgrid(sides, sides, indexing="ij"), -1).reshape(-1, 2)
    free = np.repeat(coordinates[:, 0] > 0, 2)
    return A[free][:, free].tocsr(), coordinates, free


def iterations(A: Any, b: np.ndarray, solve: js.Solve) -> int:
    info = js.solve_linear_info(A, b, solve)
    assert info.converged, info.message
    return int(info.iterations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64])
    jax.config.update("jax_enable_x64", True)
    for n in parser.parse_args().sizes:
        report(case="stokes", n=n, **stokes(n))
        report(case="elasticity", n=n, **elasticity(n))
        for mass in (1.0, 1e-3):
            report(case="curl-curl", n=n, mass=mass, **maxwell(n, mass))


if __name__ == "__main__":
    main()
