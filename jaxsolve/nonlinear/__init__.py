"""Nonlinear equations, least squares and minimisation, differentiable by the implicit function theorem."""
