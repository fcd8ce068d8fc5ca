"""Who may do what, in opportune.yaml: checked with file, line, column and the fix, and in the published JSON Schema."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from opportune.adapters.playbook import PlaybookError, load
from opportune.adapters.playbook.examine import examine
from opportune.adapters.playbook.schemas import schema_json

SAMPLE = Path(__file__).parents[2] / "samples/saas"


def test_the_sample_names_its_people() -> None:
    people = load(SAMPLE).playbook.app.people
    assert people["dana"] == ("model_approver",)
    assert {"model_owner"} == {role for roles in people.values() for role in roles} - {"model_approver", "compliance"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("  dana: [model_aprover]", ":10: `model_aprover` is not one of `compliance`, `model_approver`, `model_owner`, "
         "`reviewer`; did you mean `model_approver`?"),
        ("  Dana Osei: [model_approver]", ":3: `Dana Osei` cannot be a key here: it must be a name of small letters"),
        ("  dana@example.com: [model_approver]", ":3: `dana@example.com` cannot be a key here"),
        ("  dana: model_approver", ":9: `dana` must be a list"),
        ("  dana: {roles: [model_approver]}", ":9: `dana` must be a list"),
        ("  dana: [model_approver]\n  dana: [reviewer]", "dana"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(tmp_path: Path, line: str, says: str) -> None:
    folder = tmp_path / "playbook"
    shutil.copytree(SAMPLE, folder)
    file = folder / "opportune.yaml"
    text = file.read_text()
    assert "  dana: [model_approver]" in text
    file.write_text(text.replace("  dana: [model_approver]", line, 1))
    with pytest.raises(PlaybookError) as told:
        load(folder)
    place = f"opportune.yaml:{text[: text.index('  dana:')].count(chr(10)) + (2 if 'reviewer]' in line else 1)}"
    assert place in str(told.value)
    assert says in str(told.value)


def test_the_schema_for_editors_knows_the_roles() -> None:
    people = schema_json("app")["$defs"]["App"]["properties"]["people"]
    assert people["additionalProperties"]["items"]["enum"] == [
        "compliance", "model_approver", "model_owner", "reviewer"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("people", "risk", "count"),
    [("dana: [model_approver]", "low", None), ("dana: [model_owner, reviewer]", "low", 0),
     ("dana: [model_approver]", "high", 1), ("dana: [model_approver], lee: [compliance]", "high", None)],
)  # fmt: skip
def test_a_model_that_nobody_here_can_approve_is_warned_of(
    tmp_path: Path, people: str, risk: str, count: int | None
) -> None:
    folder = tmp_path / "playbook"
    shutil.copytree(SAMPLE, folder)
    settings, models = folder / "opportune.yaml", folder / "models/expansion.yaml"
    text = settings.read_text()
    settings.write_text(f"{text[: text.index('people:')]}people: {{{people}}}\n")
    models.write_text(models.read_text().replace("    target: uplift\n", f"    target: uplift\n    risk: {risk}\n"))
    found = examine(folder)
    assert found.problems == ()
    said = [str(one) for one in found.warnings if "can never be released" in str(one)]
    assert [f"opportune.yaml has {count}" in one for one in said] == ([] if count is None else [True]), said
    assert all(one.startswith("models/expansion.yaml:") for one in said)
