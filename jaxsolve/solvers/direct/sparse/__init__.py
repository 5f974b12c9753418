"""Sparse elimination on the device: a static pattern, traced values, no host while it runs."""
