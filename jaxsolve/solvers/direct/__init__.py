"""Direct methods: a factorisation made once, and refinement sweeps by the one driver."""
