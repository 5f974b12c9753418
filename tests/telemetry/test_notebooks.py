"""What notebooks show: small tables, escaped, without colours of their own."""

import re
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import pytest

import jaxsolve as js

A, B = jnp.diag(jnp.arange(1.0, 6.0)), jnp.ones(5)


class Checked(HTMLParser):
    """Well-formed HTML, and its text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}"


def shown(thing):
    html = thing._repr_html_()
    assert not re.search(r"color|background", html)
    return Checked(html).text


def test_a_result_shows_how_it_went():
    text = shown(js.solve_linear_info(A, B, js.Solve("CG", rtol=1e-10)))
    for part in ("CG", "converged", "iterations", "residual norm", "float64"):
        assert part in text


def test_a_failed_one_shows_advice():
    text = shown(js.solve_linear_info(A, B, js.Solve("CG", max_iterations=1)))
    assert "max_iterations" in text
    assert "Raise `max_iterations`" in text


def test_a_batch_shows_how_many_converged():
    stack = jnp.stack([A, jnp.zeros((5, 5))])
    assert "1 of 2 converged" in shown(js.solve_linear_info(stack, B))
    assert "0 of 0 converged" in shown(js.solve_linear_info(stack[:0], B[None][:0]))


def test_a_traced_one_says_so():
    texts = []
    jax.make_jaxpr(lambda b: texts.append(shown(js.solve_linear_info(A, b))))(B)
    assert "traced" in texts[0]


def test_a_tape_shows_a_row_a_solve():
    with js.SolveTape() as solves:
        for rtol in (1e-3, 1e-6):
            js.solve_linear(A, B, js.Solve("CG", rtol=rtol))
    html = solves._repr_html_()
    assert html.count("<tr>") == 3
    assert "2 solves" in shown(solves)
    assert "0 solves" in shown(js.SolveTape())


@pytest.mark.filterwarnings("ignore")
def test_an_explanation_shows_reasons_and_a_diagnosis_advice(capsys):
    assert "because" in shown(js.explain(A, B))
    text = shown(js.explain(js.solve_linear_info(A, B, js.Solve("CG", max_iterations=1))))
    assert "advice" in text
    capsys.readouterr()


def test_text_is_escaped():
    told = js.Explanation("<script>", "a & b", (), {"x": "<b>"})
    assert "<script>" not in told._repr_html_()
    assert "<script>" in shown(told)
