"""What is known of a matrix, and what follows for others made of it: checked on numbers."""

import itertools

import numpy as np
import pytest

from jaxsolve.core.traits import Traits, traits_for

NAMES = ["symmetric", "hermitian", "positive_definite", "lower", "upper", "diagonal"]


def holds(name: str, A: np.ndarray) -> bool:
    """Whether a matrix has a trait."""
    match name:
        case "symmetric":
            return np.allclose(A, A.T)
        case "hermitian":
            return np.allclose(A, A.conj().T)
        case "positive_definite":
            return np.allclose(A, A.conj().T) and np.linalg.eigvalsh(A).min() > 0
        case "lower":
            return np.allclose(A, np.tril(A))
        case "upper":
            return np.allclose(A, np.triu(A))
    return np.allclose(A, np.diag(np.diag(A)))


def examples(complex_: bool) -> list[tuple[np.ndarray, Traits]]:
    """Matrices with all the traits that they have."""
    rng = np.random.default_rng(5)
    G = rng.normal(size=(4, 4)) + (1j * rng.normal(size=(4, 4)) if complex_ else 0)
    H = G + G.conj().T
    matrices = [
        G,
        G + G.T,
        H,
        G @ G.conj().T + np.eye(4),
        np.tril(G),
        np.triu(G),
        np.diag(np.diag(G)),
        np.eye(4),
        -H,
    ]
    return [(A, Traits(**{name: holds(name, A) for name in NAMES})) for A in matrices]


@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
def test_sums_products_transposes_and_multiples_have_the_traits_they_claim(complex_):
    number = 2 - 1j if complex_ else -3.0
    for A, facts in examples(complex_):
        for name in facts.T.names():
            assert holds(name, A.T), ("T", name)
        for name in facts.scaled().names():
            assert holds(name, number * A), ("scaled", name)
    for (A, a), (B, b) in itertools.product(examples(complex_), repeat=2):
        for name in (a + b).names():
            assert holds(name, A + B), ("+", name)
        for name in (a @ b).names():
            assert holds(name, A @ B), ("@", name)


@pytest.mark.parametrize("complex_", [False, True], ids=["real", "complex"])
def test_a_declaration_implies_only_what_follows(complex_):
    for name in NAMES:
        implied = traits_for(complex_, **{name: True})
        matching = [A for A, facts in examples(complex_) if getattr(facts, name)]
        assert matching
        for other in implied.names():
            assert all(holds(other, A) for A in matching), (name, other)


def test_real_symmetric_is_hermitian_and_complex_symmetric_is_not():
    assert traits_for(False, symmetric=True).hermitian
    assert not traits_for(True, symmetric=True).hermitian
    assert not traits_for(True, hermitian=True).symmetric
    assert not traits_for(True, positive_definite=True).symmetric


def test_an_unknown_trait_is_refused_with_the_known_ones():
    with pytest.raises(
        TypeError, match=r"unknown trait 'spd'; known traits: diagonal, hermitian, lower, positive"
    ):
        traits_for(False, spd=True)
