"""Multigrid: strength, aggregates and splittings, interpolation, Galerkin products, cycles."""
