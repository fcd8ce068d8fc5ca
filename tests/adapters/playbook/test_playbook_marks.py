"""Marks: the place of any field, and of a character inside an expression, in every YAML style."""

from pathlib import Path

import playbook_folders as folders
import pytest

from opportune.adapters.playbook import load, place_error, place_expression_error
from opportune.adapters.playbook.marks import place_within
from opportune.adapters.playbook.nodes import Entries, Scalar, read
from opportune.core.expressions import ExpressionError
from opportune.core.features import FeatureError
from opportune.core.policies import PolicyError


def test_documents_and_fields_are_found(tmp_path: Path) -> None:
    marks = load(folders.write(tmp_path)).marks
    found = {
        marks.where("policies", "consent.marketing"): "policies/all.yaml:10:5",
        marks.where("policies", "consent.marketing", "when"): "policies/all.yaml:13:12",
        marks.where("policies", "consent.marketing", "when", column=14): "policies/all.yaml:13:25",
        marks.where("policies", "permit.all", "when", line=2, column=6): "policies/all.yaml:7:12",
        marks.where("offers", "seats_25", "price", "amount"): "offers/seats.yaml:17:21",
        marks.where("offers", "seats_10", "treatments", "in_app"): "offers/seats.yaml:13:7",
        marks.where("views", "seats", "features", "seat_ratio", "derive"): "features/account.yaml:9:34",
        marks.where("views", "seats", "features", 0, "id"): "features/account.yaml:8:14",
        marks.where("schemas", "seats.counted@1", "schema", "properties", "used"): "schemas/seats.yaml:11:9",
        marks.where("moments", "usage.limit_reached", "moment"): "opportune.yaml:6:13",
        marks.where("app", "app", "timezone"): "opportune.yaml:2:11",
        marks.where("channels", "in_app", "limits", "weekly"): "channels/channels.yaml:8:9",
    }
    assert [str(place) for place in found] == list(found.values())


def test_a_field_left_out_gives_the_place_around_it(tmp_path: Path) -> None:
    marks = load(folders.write(tmp_path)).marks
    assert marks.where("offers", "seats_25", "requires") == marks.where("offers", "seats_25")
    with pytest.raises(KeyError):
        marks.where("offers", "nobody")
    problem = marks.problem("policies", "permit.all", ("when",), "unknown name `nothing`", line=2, column=6)
    assert str(problem) == "policies/all.yaml:7:12: unknown name `nothing`"
    assert problem.path == 'policies["permit.all"].when'


def test_errors_of_compiling_are_placed_inside_the_expression(tmp_path: Path) -> None:
    marks = load(folders.write(tmp_path)).marks
    policy = PolicyError("permit.all", "when", "unknown name `nothing`", 2, 6, "noting")
    assert str(place_error(marks, policy)) == (
        "policies/all.yaml:7:12: unknown name `nothing`; did you mean `noting`?"
    )
    feature = FeatureError("seats", "seat_ratio", "derive", "no")
    feature.__cause__ = ExpressionError("no", 1, 8)
    assert str(place_error(marks, feature)) == "features/account.yaml:9:41: no"
    assert str(place_error(marks, FeatureError("seats", None, "purposes", "no"))) == "features/account.yaml:6:5: no"
    assert place_error(marks, FeatureError("gone", None, None, "no")).file == "views/"
    offer = place_expression_error(marks, "offers", "seats_10", ("requires",), ExpressionError("no", 1, 15))
    assert str(offer) == "offers/seats.yaml:9:30: no"


STYLES = {
    "plain": "k: aa bb cc\n",
    "plain over lines": "k: aa\n    bb\n  cc\n",
    "double": 'k: "aa bb cc"\n',
    "double over lines": 'k: "aa\n  bb \\\n  cc"\n',
    "double with escapes": 'k: "aa\\tbb\\u0020\\x63c"\n',
    "single": "k: 'aa bb cc'\n",
    "single with quotes": "k: 'a''b cc'\n",
    "double with quotes": 'k: "a\\"b cc"\n',
    "literal": "k: | # why\n   aa\n   bb\n\n   cc\n",
    "literal deeper": "k: |2-\n    aa\n   bb\n  cc\n",
    "folded": "k: >-\n  aa\n  bb\n\n  cc\n",
    "windows": "k: |\r\n  aa\r\n  bb\r\n  cc\r\n",
}


@pytest.mark.parametrize("style", STYLES)
def test_each_visible_character_is_found_in_every_style(style: str) -> None:
    source = STYLES[style]
    text, node, problems = read("a.yaml", source.encode())
    assert not problems
    assert isinstance(node, Entries)
    scalar = node.entries[0].value
    assert isinstance(scalar, Scalar)
    assert isinstance(scalar.value, str)
    for number, line in enumerate(scalar.value.split("\n"), 1):
        for column, char in enumerate(line, 1):
            at = place_within(text.text, scalar, number, column)
            if not char.isspace():
                assert source[at] == char or source[at] == "\\", (number, column, at)
        place_within(text.text, scalar, number, len(line) + 9)


def test_the_place_just_after_the_text_is_right_too() -> None:
    text, node, _ = read("a.yaml", b'k: "a  b "\n')
    assert isinstance(node, Entries)
    scalar = node.entries[0].value
    assert isinstance(scalar, Scalar)
    assert [place_within(text.text, scalar, 1, column) for column in range(1, 7)] == [4, 5, 6, 7, 8, 9]
    _, node, _ = read("a.yaml", b"k: ''\n")
    assert isinstance(node, Entries)
    empty = node.entries[0].value
    assert isinstance(empty, Scalar)
    assert place_within("k: ''\n", empty, 3, 3) == 3
