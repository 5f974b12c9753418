"""Multigrid on grids: stencils, coarser axes, and the hierarchies that they make."""
