"""Rotations and poses moved by steps of their tangent space: unit quaternions, SO(3), SE(3).

A step is taken in the frame of the body, x exp(step): Solà, Deray and Atchuthan (2018), A micro Lie theory for state
estimation in robotics.
"""

import math

import jax.numpy as jnp
from jax import Array

#: Terms of a series up to an angle of one: the first that is left out is 1 / 19!, below the rounding of doubles.
TERMS = 9


def moved_quaternion(q: Array, step: Array) -> Array:
    """q exp(step / 2) for q of (w, x, y, z), shape (..., 4), and rotation vectors of shape (..., 3)."""
    half = step / 2
    square = jnp.sum(half * half, axis=-1, keepdims=True)
    v = _sine(square) * half
    w = 1 - square * _versine(square)
    a, u = q[..., :1], q[..., 1:]
    real = a * w - jnp.sum(u * v, axis=-1, keepdims=True)
    p = jnp.concatenate([real, a * v + w * u + jnp.cross(u, v)], axis=-1)
    # Rounding adds up along the way; a step of Newton's method for |p| = 1.
    return p * (3 - jnp.sum(p * p, axis=-1, keepdims=True)) / 2


def moved_rotation(R: Array, step: Array) -> Array:
    """R exp([step]) for matrices of shape (..., 3, 3) and rotation vectors of shape (..., 3)."""
    return _orthonormal(jnp.matmul(R, _rotation(step), precision="highest"))


def moved_pose(T: Array, step: Array) -> Array:
    """T exp(step) for matrices [R t; 0 1] of shape (..., 4, 4) and steps (translation, rotation) of shape (..., 6)."""
    v, w = step[..., :3], step[..., 3:]
    square = jnp.sum(w * w, axis=-1, keepdims=True)
    # V v with V = ∫ exp(s [w]) ds from 0 to 1.
    across = jnp.cross(w, v)
    moved = v + _versine(square) * across + _third(square) * jnp.cross(w, across)
    R = T[..., :3, :3]
    t = T[..., :3, 3:] + jnp.matmul(R, moved[..., None], precision="highest")
    return jnp.concatenate([jnp.concatenate([moved_rotation(R, w), t], axis=-1), T[..., 3:, :]], axis=-2)


def along_quaternion(q: Array, step: Array) -> Array:
    """The derivative of `moved_quaternion` at the step 0, applied to a step."""
    a, u, v = q[..., :1], q[..., 1:], step / 2
    return jnp.concatenate([-jnp.sum(u * v, axis=-1, keepdims=True), a * v + jnp.cross(u, v)], axis=-1)


def along_rotation(R: Array, step: Array) -> Array:
    """The derivative of `moved_rotation` at the step 0, R [step]."""
    return jnp.matmul(R, _across(step), precision="highest")


def along_pose(T: Array, step: Array) -> Array:
    """The derivative of `moved_pose` at the step 0."""
    R = T[..., :3, :3]
    t = jnp.matmul(R, step[..., :3, None], precision="highest")
    upper = jnp.concatenate([along_rotation(R, step[..., 3:]), t], axis=-1)
    return jnp.concatenate([upper, jnp.zeros_like(T[..., 3:, :])], axis=-2)


def _across(w: Array) -> Array:
    """[w], with [w] v = w x v."""
    x, y, z = w[..., 0], w[..., 1], w[..., 2]
    o = jnp.zeros_like(x)
    return jnp.stack([o, -z, y, z, o, -x, -y, x, o], axis=-1).reshape(*w.shape, 3)


def _rotation(w: Array) -> Array:
    """exp([w]) = I + a [w] + b [w]² (Rodrigues)."""
    square = jnp.sum(w * w, axis=-1)[..., None, None]
    outer = w[..., :, None] * w[..., None, :]
    b = _versine(square)
    return (1 - b * square) * jnp.eye(3, dtype=w.dtype) + _sine(square) * _across(w) + b * outer


def _orthonormal(R: Array) -> Array:
    """R without what rounding has added: a step of Newton's method for RᵀR = I."""
    gram = jnp.matmul(jnp.swapaxes(R, -1, -2), R, precision="highest")
    return jnp.matmul(R, (3 * jnp.eye(3, dtype=R.dtype) - gram) / 2, precision="highest")


def _sine(square: Array) -> Array:
    """sin θ / θ of θ²."""
    return _smooth(square, 1, lambda t: jnp.sin(t) / t)


def _versine(square: Array) -> Array:
    """(1 - cos θ) / θ² of θ²."""
    return _smooth(square, 2, lambda t: (1 - jnp.cos(t)) / t**2)


def _third(square: Array) -> Array:
    """(θ - sin θ) / θ³ of θ²."""
    return _smooth(square, 3, lambda t: (t - jnp.sin(t)) / t**3)


def _smooth(square: Array, first: int, closed) -> Array:
    """Σ (-1)ᵏ θ²ᵏ / (2k + first)!, which has derivatives of every order at zero; `closed` beyond one."""
    near = square < 1
    small, series = jnp.where(near, square, 0), jnp.zeros_like(square)
    for k in reversed(range(TERMS)):
        series = (-1) ** k / math.factorial(2 * k + first) + small * series
    return jnp.where(near, series, closed(jnp.sqrt(jnp.where(near, 1, square))))


def off_quaternion(q: Array) -> Array:
    """How far q are from length one, at most."""
    return jnp.max(jnp.abs(jnp.sum(q * q, axis=-1) - 1), initial=0)


def off_rotation(R: Array) -> Array:
    """How far R are from RᵀR = I with determinant one, at most."""
    gram = jnp.matmul(jnp.swapaxes(R, -1, -2), R, precision="highest") - jnp.eye(3, dtype=R.dtype)
    volume = jnp.sum(jnp.cross(R[..., 0], R[..., 1]) * R[..., 2], axis=-1) - 1
    return jnp.maximum(jnp.max(jnp.abs(gram), initial=0), jnp.max(jnp.abs(volume), initial=0))


def off_pose(T: Array) -> Array:
    """How far T are from [R t; 0 1], at most."""
    last = jnp.abs(T[..., 3, :] - jnp.array([0, 0, 0, 1], T.dtype))
    return jnp.maximum(off_rotation(T[..., :3, :3]), jnp.max(last, initial=0))
