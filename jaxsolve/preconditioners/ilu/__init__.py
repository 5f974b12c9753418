"""Incomplete factors: found with fill on the host or without on the device, and the triangular solves with them."""
