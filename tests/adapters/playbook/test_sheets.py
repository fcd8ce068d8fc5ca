"""Decision tables in CSV and YAML: what spreadsheets write is read, and every problem is at its cell."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import playbook_folders as folders
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opportune.adapters.playbook import PlaybookError, load
from opportune.adapters.playbook.examine import examine
from opportune.adapters.playbook.schemas import schema_json
from opportune.core.policies import Policy

POLICIES = """\
policies:
  - id: permit.all
    effect: permit
    class: commercial
    reason: everybody
    owner: growth
"""
SHEET = """\
# Who looks first.
owner: sales
class: commercial
effect: require_review
"reason: {seats_used} seats, a colleague looks first"

F,offer.kind,seats_used,seat_ratio * 2.0,Priority,note
big,seats | plan,>= 100,-,10,"one, two"
,plan,[20..100),>= 0.5,,x

tests:
name,expect,offer.kind,seats_used
a big one,big,plan,120
"""
YAML = """\
tables:
  - table: looks
    hit_policy: first
    owner: sales
    class: commercial
    effect: require_review
    reason: "{seats_used} seats, a colleague looks first"
    rows:
      - {id: big, offer.kind: [seats, plan], seats_used: ">= 100", priority: 10}
      - {offer.kind: plan, seats_used: "[20..100)", "seat_ratio * 2.0": ">= 0.5"}
    tests:
      - {name: a big one, given: {offer.kind: plan, seats_used: 120}, expect: big}
"""


def rows(folder: Path, content: bytes | str, name: str = "looks.csv") -> list[Policy]:
    folders.write(folder, policies=POLICIES)
    raw = content if isinstance(content, bytes) else content.encode()
    (folder / "policies" / name).write_bytes(raw)
    return [one for one in load(folder).playbook.policies if one.id.startswith("looks.")]


def problems(folder: Path, content: bytes | str, name: str = "looks.csv") -> list[str]:
    with pytest.raises(PlaybookError) as caught:
        rows(folder, content, name)
    return [str(one) for one in caught.value.problems]


def test_a_sheet_and_yaml_give_the_same_policies(tmp_path: Path) -> None:
    sheet, yaml = rows(tmp_path / "a", SHEET), rows(tmp_path / "b", YAML, "looks.yaml")
    assert sheet == yaml
    assert [(one.id, one.priority, one.when) for one in sheet] == [
        ("looks.big", 10, "offer.kind in ['seats', 'plan'] && seats_used >= 100"),
        (
            "looks.2", 0,
            "offer.kind == 'plan' && (seats_used >= 20 && seats_used < 100) && (seat_ratio * 2.0) >= 0.5",
        ),
    ]  # fmt: skip
    assert [test.expect for one in sheet for test in one.tests] == [True, False]
    assert examine(tmp_path / "a").problems == ()


FORMS = {
    "byte order mark": b"\xef\xbb\xbf" + SHEET.encode(),
    "windows lines": SHEET.replace("\n", "\r\n").encode(),
    "old mac lines": SHEET.replace("\n", "\r").encode(),
    "no last line end": SHEET.rstrip().encode(),
    "semicolons": SHEET.replace(",", ";").encode(),
    "tabs": SHEET.replace(",", "\t").encode(),
    "sep line": b"sep=;\r\n" + SHEET.replace(",", ";").encode(),
    "utf-16": SHEET.replace(",", "\t").encode("utf-16"),
    "everything quoted": "\n".join(
        ",".join('"' + cell.strip('"') + '"' for cell in line.split(","))
        if '"' not in line else line for line in SHEET.splitlines()
    ).encode(),
    "empty cells at the ends": "\n".join(line + ",,," for line in SHEET.splitlines()).encode(),
    "blanks around cells": SHEET.replace(",", " , ").encode(),
    "no-break spaces": SHEET.replace(">= 100", ">=\u00a0100\u00a0").encode(),
    "settings in two cells": SHEET.replace("owner: sales", "owner:,sales").encode(),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_spreadsheets_make_of_a_file_is_read(form: str, tmp_path: Path) -> None:
    """The comma in `reason` and in the note is in quotes: another separator leaves them as they are."""
    expected = rows(tmp_path / "a", SHEET)
    found = rows(tmp_path / "b", FORMS[form])
    assert [(one.id, one.when, one.owner, one.tests) for one in found] == [
        (one.id, one.when, one.owner, one.tests) for one in expected
    ]


def test_line_breaks_and_quotes_inside_cells(tmp_path: Path) -> None:
    text = SHEET.replace("seats | plan", '"""seats"" |\n plan"').replace(">= 100,", ">= 1o0,")
    (found,) = problems(tmp_path, text)
    assert found == "policies/looks.csv:9:11: `1o0` is not a whole number such as `10`"


WRONG = [
    (">= 100", ">= 1o0", "8:21: `1o0` is not a whole number"),
    ("big,seats | plan", '"b","seats | {offr.kind}"', "8:15: unknown name `offr.kind`; did you mean `offer.kind`?"),
    ("F,offer.kind", "F,ofer.kind", "7:3: unknown name `ofer.kind`; did you mean `offer.kind`?"),
    ("seat_ratio * 2.0", "seat_rato * 2.0", "7:25: unknown name `seat_rato`; did you mean `seat_ratio`?"),
    (",10,", ",ten,", "8:27: `ten` is not a whole number"),
    ("Priority", "Prioritty", "7:42: unknown name `Prioritty`; did you mean `priority`?"),
    ("note\n", "\n", "8:30: `one, two` stands in a column without a heading"),
    ("note\n", "seats_used\n", "7:51: heading `seats_used` is there twice, first in column 3"),
    ("owner: sales", "ownr: sales", "2:1: unknown key `ownr`; did you mean `owner`?"),
    ("owner: sales", "owner: sales, growth", "2:15: `owner` has more than one value"),
    ("owner: sales", "owner:", "2:1: `owner` has no value"),
    ("owner: sales", "class: legal", "3:1: `class` is set twice"),
    ("owner: sales", "version: two", "2:1: `version` must be a whole number, not the text `two`"),
    ("owner: sales\n", "", "7:1: row `big` has no `owner`"),
    ("effect: require_review", "effect: review", "4:1: `review` is not one of"),
    ("class: commercial", "hit policy: unique", "7:1: the hit policy is `first` here and `unique` above"),
    (",,x", ',,"x', "9:25: the quote of this cell is not closed"),
    ("big,seats | plan", '"big" x,seats', "8:7: something stands behind the quote"),
    (",plan,[20", "big,plan,[20", "9:1: row `big` is there twice"),
    ("a big one,big", "a big one,bigg", "13:11: there is no row `bigg`: say one of `big`, `2`, or `none`; did you"),
    ("kind,seats_used\na", "kind,seats_usd\na", "12:24: unknown name `seats_usd`; did you mean `seats_used`?"),
    ("plan,120", "plan,many", "13:20: `many` is not a whole number"),
    ("name,expect", "name,expected", "12:1: the tests have no column `expect`; did you mean `expected`?"),
    ('"reason: {seats_used}', '"reason: {seats_usd}', "5:2: unknown name `seats_usd` in the reason"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), WRONG)
def test_a_problem_is_at_its_cell(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in SHEET
    folders.write(tmp_path, policies=POLICIES)
    (tmp_path / "policies/looks.csv").write_text(SHEET.replace(old, new, 1), encoding="utf-8")
    found = [str(one) for one in examine(tmp_path).problems]
    assert any(expected in one for one in found), found
    assert all(one.startswith("policies/looks.csv:") for one in found)


YAML_WRONG = [
    ('">= 100"', '">= 1o0"', "9:62: `1o0` is not a whole number"),
    ("seats_used: \">= 100\"", "seats_usd: 3", "9:46: unknown name `seats_usd`; did you mean `seats_used`?"),
    ("hit_policy: first", "hit_policy: frist", "3:17: `frist` is not one of"),
    ("expect: big}", "expect: bigg}", "12:79: there is no row `bigg`"),
    ("tables:", "tabels:", "1:1: unknown key `tabels`"),
    ("table: looks", "table: ../looks x", "2:12: `../looks x` cannot name a table"),
    ("priority: 10", "priority: {a: 1}", "9:78: `priority` must be"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), YAML_WRONG)
def test_a_problem_in_yaml_is_at_its_field(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert old in YAML
    found = problems(tmp_path, YAML.replace(old, new, 1), "looks.yaml")
    assert any(f"policies/looks.yaml:{expected}" in one for one in found), found


def test_data_for_another_purpose_is_told_at_the_cell_that_reads_it(tmp_path: Path) -> None:
    folders.write(tmp_path, policies=POLICIES, features=folders.FEATURES.replace("[marketing]", "[service]"))
    (tmp_path / "policies/looks.csv").write_text(SHEET)
    found = [str(one) for one in examine(tmp_path).problems]
    assert any(one.startswith("policies/looks.csv:8:18: `seats_used` (view `seats`) is not for") for one in found), (
        found
    )


def test_files_without_a_table_say_what_to_write(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"# nothing\n", b"\n,,\n")):
        (found,) = problems(tmp_path / str(number), content)
        assert "there is no table: write a line of headings" in found
    assert (
        "save the sheet as `CSV UTF-8`"
        in problems(tmp_path / "latin", SHEET.replace("big", "gro\xdf").encode("latin-1"))[0]
    )
    assert "cannot name a table" in problems(tmp_path / "name", SHEET, "my looks!.csv")[0]
    (tmp_path / "twice/policies").mkdir(parents=True)
    (tmp_path / "twice/policies/looks.yaml").write_text(YAML)
    assert "table `looks` is defined twice" in problems(tmp_path / "twice", SHEET)[0]


def test_a_playbook_may_have_tables_alone(tmp_path: Path) -> None:
    folders.write(tmp_path, policies=None, scenarios=None)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/looks.csv").write_text(SHEET)
    assert [one.id for one in load(tmp_path).playbook.policies] == ["looks.big", "looks.2"]


def test_the_schema_of_policy_files_knows_tables() -> None:
    schema = schema_json("policies")
    assert set(schema["properties"]) == {"policies", "tables"}
    assert {"table", "rows", "hit_policy", "tests"} <= set(schema["$defs"]["DecisionTable"]["properties"])


PIECES = [
    "", " ", "\n", "\r", "\t", ",", ";", '"', '""', "'", "|", "-", "not(", ")", "[", "..", "{", "}", "{seats_used}",
    ">=", "1,5", "tests:", "owner:", "# ", "\x00", "\u2028", "\ufeff", "é", "a" * 3000, "9" * 400, "missing", "=1+1",
    "offer.kind", "id", "F", "null", "sep=;\n", "(((((" * 30, "true", "%",
]  # fmt: skip


def assert_answers(folder: Path, content: bytes, name: str = "looks.csv") -> None:
    """It loads and compiles, or every problem has a file, a line and one sentence."""
    folders.write(folder, policies=POLICIES)
    (folder / "policies" / name).write_bytes(content)
    examined = examine(folder)
    assert examined.playbook is not None or examined.problems
    for one in (*examined.problems, *examined.warnings):
        assert one.line >= 1
        assert one.column >= 1
        assert one.message
        assert "\n" not in str(one)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), [("looks.csv", SHEET), ("looks.yaml", YAML)])
def test_a_mutated_table_is_read_or_explained(name: str, text: str, tmp_path: Path) -> None:
    for seed in range(120):
        chance = random.Random(seed)
        changed = text
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(changed) + 1)
            end = at + (chance.randrange(1, 12) if chance.random() < 0.5 else 0)
            changed = changed[:at] + chance.choice(PIECES) + changed[end:]
        assert_answers(tmp_path, changed.encode("utf-8", "surrogatepass"), name)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, database=None)
@given(cells=st.lists(st.text(max_size=12) | st.sampled_from(PIECES), max_size=8), start=st.integers(0, 200))
def test_garbage_in_cells_is_read_or_explained(cells: list[str], start: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        raw = SHEET.encode()
        garbage = ",".join(cells).encode("utf-8", "surrogatepass")
        assert_answers(Path(place), raw[:start] + garbage + raw[start + len(garbage) // 2 :])
