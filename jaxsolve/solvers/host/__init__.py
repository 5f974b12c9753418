"""Methods that run on the host: SciPy's Krylov solvers, and factorisations by SciPy and by optional libraries."""
