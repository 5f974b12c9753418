import dataclasses
import json
import math

from jaxsolve.cli.tables import print_json, print_table


def test_numbers_stand_right_and_names_left(capsys):
    print_table(["name", " number"], [["a", "1"], ["long name", "1000"]])
    assert capsys.readouterr().out.splitlines() == [
        "name       number",
        "---------  ------",
        "a               1",
        "long name    1000",
    ]


def test_json_has_no_nan(capsys):
    @dataclasses.dataclass
    class Pair:
        left: float
        right: tuple[float, ...]

    print_json([Pair(math.nan, (1.0, math.inf))])
    assert json.loads(capsys.readouterr().out) == [{"left": None, "right": [1.0, None]}]
