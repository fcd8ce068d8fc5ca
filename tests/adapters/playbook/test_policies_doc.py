"""The examples of docs/policies.md: each is put into the sample playbook, checked, and its tests are run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from opportune.adapters.playbook import load
from opportune.adapters.playbook.examine import examine
from opportune.core.policies import Policy, run_policy_tests
from opportune.core.policies.documents import Effect, PolicyClass
from opportune.core.policies.table_documents import NOTES, OUTPUTS, HitPolicy
from opportune.core.releases import compile_release, encode_manifest, variables_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/policies.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```(yaml|csv)\n(.*?)```", PAGE, re.DOTALL)
SAID = re.findall(r"gives\n\n```text\n(.*?)\n```", PAGE, re.DOTALL)


def with_example(folder: Path, kind: str, text: str) -> Path:
    """The sample with the example instead of the rules of its name."""
    shutil.copytree(ROOT / "samples/saas", folder, dirs_exist_ok=True)
    for id_ in re.findall(r"- id: (\S+\.\S+)", text):
        for file in (folder / "policies").glob("*.yaml"):
            rules = re.split(r"(?m)^(?=  - id: )", file.read_text())
            file.write_text("".join(one for one in rules if not one.startswith(f"  - id: {id_}\n")))
    if "table: pace" in text or kind == "csv":
        (folder / "policies/pace.csv").unlink()
    name = "pace.csv" if kind == "csv" else "example.yaml"
    (folder / "policies" / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_is_sound_and_its_tests_pass(number: int, tmp_path: Path) -> None:
    folder = with_example(tmp_path, *EXAMPLES[number])
    examined = examine(folder)
    assert examined.problems == ()
    assert [one.message for one in examined.warnings] == (SAID if "contrary" in EXAMPLES[number][1] else [])
    release = compile_release(encode_manifest(load(folder).playbook))
    results = run_policy_tests(release.playbook.policies, variables_of(release.playbook, release.views))
    assert [one for one in results if not one.passed] == []


def test_both_forms_of_the_table_are_the_same_rules(tmp_path: Path) -> None:
    forms = [one for one in EXAMPLES if "new_addon" in one[1]]
    assert [kind for kind, _ in forms] == ["csv", "yaml"]
    found = [load(with_example(tmp_path / kind, kind, text)).playbook.policies for kind, text in forms]
    rules = [[(one.id, one.when, one.reason) for one in each if one.id.startswith("pace.")] for each in found]
    assert rules[0] == rules[1]
    assert len(rules[0]) == 2


def test_the_page_names_every_field_effect_class_and_form() -> None:
    fields = [one.encode_name for one in msgspec.structs.fields(Policy)]
    names = [*fields, *get_args(Effect), *get_args(PolicyClass), *get_args(HitPolicy), *OUTPUTS, *NOTES]
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_every_cell_of_the_page_is_read() -> None:
    from opportune.core.policies.cells import Column

    rows = re.search(r"\| cell \| means \|\n\|---\|---\|\n(.*?)\n\n", PAGE, re.DOTALL)
    assert rows is not None
    types = {
        "plan": "string", "seats": "int", "mrr": "double", "trial": "bool", "now": "timestamp", "age": "duration",
        "tags": "list(string)", "offer.seats_added": "int",
    }  # fmt: skip
    for line in rows[1].splitlines():
        left = line.split(" | ")[0]
        for cell in re.findall(r"`([^`]+)`", left):
            readable = []
            for name, type_ in types.items():
                try:
                    readable.append(Column(name, type_, types).condition(cell.replace("\\|", "|")))
                except ValueError:
                    continue
            assert readable, cell
