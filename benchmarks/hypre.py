"""PETSc with hypre BoomerAMG (its defaults) on one matrix, for any Python that has petsc4py and SciPy: needs no JAX.

python hypre.py MATRIX.npz METHOD RTOL: one JSON line a round with seconds of set-up and solve and iterations.
"""

import json
import sys
import time

import numpy as np
import scipy.sparse


def main() -> None:
    import petsc4py  # noqa: PLC0415

    petsc4py.init(["hypre"])
    from petsc4py import PETSc  # noqa: PLC0415

    path, method, rtol = sys.argv[1], sys.argv[2], float(sys.argv[3])
    matrix = scipy.sparse.load_npz(path).tocsr()
    csr = (matrix.indptr.astype("i4"), matrix.indices.astype("i4"), matrix.data)
    A = PETSc.Mat().createAIJ(size=matrix.shape, csr=csr)
    A.assemble()
    b = PETSc.Vec().createWithArray(np.random.default_rng(0).standard_normal(matrix.shape[0]))
    for _ in range(3):
        x = b.duplicate()
        solver = PETSc.KSP().create()
        solver.setOperators(A)
        solver.setType(method)
        solver.getPC().setType("hypre")
        solver.setTolerances(rtol=rtol)
        if method == "cg":
            solver.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        start = time.perf_counter()
        solver.setUp()
        middle = time.perf_counter()
        solver.solve(b, x)
        end = time.perf_counter()
        row = {"iterations": solver.getIterationNumber(), "setup": middle - start, "solve": end - middle}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
