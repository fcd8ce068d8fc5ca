"""`init`, `check` and `test`: a sound playbook passes, a broken one is told where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .called import call, change, shell

pytestmark = pytest.mark.slow


def test_a_new_playbook_is_sound_through_the_real_entry_point(tmp_path: Path) -> None:
    assert shell("init", "mine", cwd=tmp_path).code == 0
    checked = shell("check", cwd=tmp_path / "mine")
    assert (checked.code, checked.err) == (0, "")
    assert checked.out.startswith("ok: 8 offers, 3 channels")
    tested = shell("test", cwd=tmp_path / "mine")
    assert tested.code == 0
    assert re.search(r"^(\d+) of \1 passed \(13 view tests, ", tested.out)


def test_init_refuses_a_folder_with_something_in_it(playbook: Path) -> None:
    said = call("init", playbook)
    assert (said.code, said.err) == (2, f"`{playbook}` is not empty: choose a new folder\n")


def test_check_names_file_line_and_column_and_the_nearest_name(playbook: Path) -> None:
    file = playbook / "policies/guard.yaml"
    change(file, "open_urgent_tickets > 0", "open_urgnt_tickets > 0")
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "open_urgnt_tickets > 0" in text)
    said = call("check", "--playbook", playbook)
    assert said.code == 1
    assert f"policies/guard.yaml:{line}:" in said.out
    assert "did you mean `open_urgent_tickets`?" in said.out


def test_check_finds_faults_in_several_documents_at_once(playbook: Path) -> None:
    change(playbook / "policies/guard.yaml", "open_urgent_tickets > 0", "open_urgnt_tickets > 0")
    change(playbook / "offers/seats.yaml", "requires: ", "requires: nonsense_name > 1 && ")
    said = call("check", "--playbook", playbook, "--json")
    assert said.code == 1
    assert {problem["file"] for problem in said.json["problems"]} >= {"policies/guard.yaml", "offers/seats.yaml"}
    assert all(problem["line"] > 1 for problem in said.json["problems"])


def test_check_prints_annotations_for_github(playbook: Path) -> None:
    change(playbook / "opportune.yaml", "region: eu", "regin: eu")
    said = call("check", "--playbook", playbook, "--format", "github")
    assert said.code == 1
    assert said.out.startswith(f"::error file={playbook}/opportune.yaml,line=")


def test_a_broken_promise_is_named_with_what_came_instead(playbook: Path) -> None:
    change(playbook / "scenarios/saas.yaml", "reason: NO_CONSENT", "reason: QUIET_HOURS")
    said = call("test", "--playbook", playbook)
    assert said.code == 1
    assert "FAILED scenario nobody asked for consent" in said.out
    assert "expected reason `QUIET_HOURS`, got `NO_CONSENT`" in said.out


def test_a_wrong_why_not_is_named_with_the_rule_that_held_it_back(playbook: Path) -> None:
    change(playbook / "scenarios/saas.yaml", "seats_10@in_app: consent.marketing", "seats_10@in_app: legal.dunning")
    said = call("test", "--playbook", playbook, "--json")
    assert said.code == 1
    assert said.json["failures"][0]["kind"] == "scenario"
    assert "consent.marketing" in said.json["failures"][0]["failures"][0]


@pytest.mark.parametrize("command", [("check",), ("test",), ("serve",), ("releases",), ("release",), ("doctor",)])
def test_a_folder_that_is_no_playbook_is_refused_in_a_sentence(command: tuple[str, ...], tmp_path: Path) -> None:
    said = call(*command, "--playbook", tmp_path / "nowhere")
    assert said.code == (1 if command == ("doctor",) else 2)
    assert "opportune init" in said.out + said.err
    assert "Traceback" not in said.err
