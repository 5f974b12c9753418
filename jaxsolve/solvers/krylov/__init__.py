"""Krylov methods: each a short file of `start` and `step` over the one loop in `solvers.driver`."""
