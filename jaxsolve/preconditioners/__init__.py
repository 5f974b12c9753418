"""Preconditioners: recipes that build an approximate inverse of a matrix, on the device."""
