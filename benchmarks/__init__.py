"""Measurements, run by hand: `python -m benchmarks.cg`. Peers that are not installed are left out."""
