"""Draws the picture of README: `python docs/picture.py` writes `docs/pictures/plate.png`."""

import io
import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import jaxsolve as js


def plate(n: int, seed: int = 3) -> jax.Array:
    """Conductivities that vary smoothly from place to place."""
    noise = np.random.default_rng(seed).standard_normal((n, n))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.rfftfreq(n), indexing="ij"))
    field = np.fft.irfft2(np.fft.rfft2(noise) / (frequency + 2 / n) ** 2.5, s=(n, n))
    return jnp.asarray(np.exp(1.2 * field / field.std()))


def balance(u: jax.Array, k: jax.Array) -> jax.Array:
    """What leaves each cell; 0 on the left, 1 on the right."""
    right = jnp.diff(u, axis=1) * 2 / (1 / k[:, 1:] + 1 / k[:, :-1])
    down = jnp.diff(u, axis=0) * 2 / (1 / k[1:] + 1 / k[:-1])
    inner = jnp.diff(jnp.pad(right, ((0, 0), (1, 1))), axis=1) + jnp.diff(
        jnp.pad(down, ((1, 1), (0, 0))), axis=0
    )
    edges = jnp.zeros_like(u).at[:, 0].set(2 * k[:, 0] * u[:, 0])
    return edges.at[:, -1].set(2 * k[:, -1] * (u[:, -1] - 1)) - inner


def main() -> None:
    """A conductivity, the matrix of a small plate, temperature, and the gradient of the heat that flows through."""
    jax.config.update("jax_enable_x64", True)
    k, solve = plate(96), js.Solve("CG", preconditioner="ic", rtol=1e-8)

    def temperature(log_k: jax.Array) -> jax.Array:
        return js.solve_linear(balance, jnp.zeros((96, 96)), solve, jnp.exp(log_k))

    def flux(log_k: jax.Array) -> jax.Array:
        return jnp.sum(2 * jnp.exp(log_k[:, -1]) * (1 - temperature(log_k)[:, -1]))

    figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained", dpi=80)
    js.spy(js.matrix_from_function(balance, jnp.zeros((7, 7)), k[:7, :7])[0], ax=axes[1])
    shown = {
        0: ("conductivity k", jnp.log(k), "viridis"),
        2: ("temperature u", temperature(jnp.log(k)), "inferno"),
    }
    shown[3] = ("d heat flux / d log k", jax.grad(flux)(jnp.log(k)), "magma")
    for place, (title, field, colours) in shown.items():
        axes[place].imshow(field, cmap=colours, vmax=float(jnp.quantile(field, 0.995)))
        axes[place].set(title=title, xticks=[], yticks=[])
    axes[1].set(title="balance(u, k) as a matrix", xticks=[], yticks=[], xlabel="", ylabel="")
    drawn = io.BytesIO()
    figure.savefig(drawn, facecolor="white")
    # 128 colours make a file of a third of the size.
    picture = Image.open(drawn).convert("RGB").quantize(128)
    picture.save(pathlib.Path(__file__).parent / "pictures" / "plate.png", optimize=True)


if __name__ == "__main__":
    main()
