"""The ground floor: knows JAX, knows no mathematics."""
