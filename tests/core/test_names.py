"""Names that users type."""

import pytest

from jaxsolve.core.names import normalized, unknown_name


@pytest.mark.parametrize("name", ["biCG-stab", "BICGSTAB", "bicg_stab", "BiCG Stab", "bi-cg-stab"])
def test_case_hyphens_underscores_and_spaces_do_not_matter(name):
    assert normalized(name) == "bicgstab"


def test_names_with_an_s_or_a_backslash_differ_from_those_without():
    assert normalized("gmres") == "gmres"
    assert normalized("a\\b") != normalized("ab")


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    text = unknown_name("method", "gmrs", ["GMres", "CG", "LU"])
    assert text == "unknown method 'gmrs'. Did you mean 'GMres'? Known: CG, GMres, LU."


def test_nothing_near_is_no_guess():
    assert "Did you mean" not in unknown_name("method", "xyzzy", ["GMres", "CG"])
