"""Multigrid on any pattern: strength, aggregates and splittings, interpolation, Galerkin products, cycles."""
