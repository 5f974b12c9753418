"""Pictures on a dark page and on a light one: everything that is drawn stands out from the page."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")
colors = pytest.importorskip("matplotlib.colors")

STYLES = {"default": 1.0, "dark_background": 0.0}
#: Grey against grey: a difference of a quarter of the scale is seen at once.
SEEN = 0.25


def light(colour):
    red, green, blue, _ = colors.to_rgba(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


@pytest.fixture(params=STYLES)
def page(request):
    with pyplot.style.context(request.param):
        yield STYLES[request.param]
        pyplot.close("all")


@pytest.mark.parametrize("n", [5, 600])
def test_entries_of_a_matrix_stand_out(page, n):
    line = np.eye(n) + np.eye(n, k=1)
    image = js.spy(js.SparseMatrix.from_dense(line)).images[0]
    filled = np.asarray(image.get_array().compressed())
    fullest = image.cmap(image.norm(filled.max()))
    emptiest = image.cmap(image.norm(filled.min()))
    assert abs(light(fullest) - page) > 0.5
    assert abs(light(emptiest) - page) > SEEN / 2
    assert abs(light(fullest) - page) >= abs(light(emptiest) - page)


def test_lines_and_tolerances_stand_out(page):
    with js.SolveTape(record_trajectories=True) as solves:
        js.solve_linear(jnp.diag(jnp.arange(1.0, 9.0)), jnp.ones(8), js.Solve("CG"))
    for line in js.plot(solves).lines:
        seen = (1 if line.get_alpha() is None else line.get_alpha()) * abs(light(line.get_color()) - page)
        assert seen > SEEN, line
