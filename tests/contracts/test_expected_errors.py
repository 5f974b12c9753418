"""A test that expects an error says by which words it is known."""

import ast
import pathlib

TESTS = pathlib.Path(__file__).parents[1]
#: Every public function with arguments of every wrong kind: what is judged there is where the error comes from.
OF_ANY_TEXT = {"contracts/test_wrong_kinds.py"}


def test_expected_errors_are_known_by_their_words():
    silent = [
        f"{path.relative_to(TESTS)}:{call.lineno}"
        for path in sorted(TESTS.rglob("*.py"))
        if str(path.relative_to(TESTS)) not in OF_ANY_TEXT
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.raises"
        if not any(keyword.arg == "match" for keyword in call.keywords)
    ]
    assert not silent
