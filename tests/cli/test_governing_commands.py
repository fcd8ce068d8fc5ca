"""`release`, `promote`, `rollback`, `releases`, `train`, `models`, `audit`, `doctor`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .called import call, change

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


def test_releases_are_made_promoted_and_rolled_back(playbook: Path) -> None:
    first = call("release", "--note", "one", "--playbook", playbook, "--json").json
    assert (first["new"], first["live"]) == (True, False)
    assert call("release", "--playbook", playbook, "--json").json["new"] is False
    assert call("promote", first["release"][:8], "--playbook", playbook).code == 0
    change(playbook / "opportune.yaml", "share: 0.1", "share: 0.2")
    second = call("release", "--playbook", playbook, "--json").json["release"]
    assert call("promote", second, "--why", "more to compare with", "--playbook", playbook).code == 0

    (playbook / "offers/seats.yaml").write_text("broken: [")
    back = call("rollback", "--why", "a broken playbook stops nobody", "--playbook", playbook, "--json")
    assert back.json == {"live": first["release"], "before": second}
    listed = call("releases", "--playbook", playbook, "--json").json
    assert listed["live"] == first["release"]
    assert listed["history"][0]["why"] == "a broken playbook stops nobody"
    assert "● live" in call("releases", "--playbook", playbook).out


def test_what_cannot_be_promoted_is_told(playbook: Path) -> None:
    assert call("rollback", "--playbook", playbook).code == 2
    said = call("promote", "r0", "--playbook", playbook)
    assert (said.code, said.err) == (2, "no release is called `r0`: there are none\n")


def test_a_playbook_that_differs_from_what_is_live_is_mentioned(playbook: Path, tmp_path: Path) -> None:
    empty = tmp_path / "none.ndjson"
    empty.write_text("")
    call("ingest", empty, "--playbook", playbook)
    assert call("ingest", empty, "--playbook", playbook).err == ""
    change(playbook / "opportune.yaml", "share: 0.1", "share: 0.2")
    assert "the playbook differs from the live release" in call("ingest", empty, "--playbook", playbook).err


def test_training_puts_a_card_on_the_shelf(company: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(company, folder)
    said = call("train", "expansion", "--playbook", folder, "--json")
    assert said.code in (0, 1), said.err
    found = said.json
    assert found["rows"] > 100
    assert "auc" in found["metrics"]
    assert said.code == (0 if found["approved"] else 1)
    listed = call("models", "--playbook", folder, "--json").json
    assert [(one["card"], one["live"]) for one in listed] == [(found["card"], False)]
    unknown = call("train", "expansio", "--playbook", folder)
    assert (unknown.code, "did you mean `expansion`?" in unknown.err) == (2, True)


def test_the_ledger_verifies_and_a_changed_byte_is_found(company: Path, tmp_path: Path) -> None:
    found = call("audit", "verify", "--playbook", company, "--json").json
    assert found["ok"]
    assert found["size"] == found["recorded"] > 1000
    copy = tmp_path / "ledger"
    shutil.copytree(company / ".opportune/eu/ledger", copy)
    asked = ("audit", "verify", "--folder", copy, "--vkey", found["vkey"])
    assert call(*asked, "--pinned", copy / "checkpoint").code == 0
    bundle = copy / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(b"signal", b"sIgnal", 1))
    said = call(*asked)
    assert said.code == 1
    assert said.out.startswith("entry ")
    assert "BAD: " in said.out


def test_verify_needs_the_key_from_elsewhere(company: Path, tmp_path: Path) -> None:
    assert call("audit", "verify", "--folder", company).code == 2
    said = call("audit", "verify", "--folder", tmp_path / "no", "--vkey", "a+b+c")
    assert (said.code, "there is no folder" in said.err) == (2, True)


def test_a_proof_checks_offline_with_the_command_it_prints(company: Path, decision: str, tmp_path: Path) -> None:
    found = call("audit", "prove", decision, "--out", tmp_path, "--playbook", company, "--json").json
    assert Path(found["proof"]).read_bytes().startswith(b"c2sp.org/tlog-proof@v1\n")
    offline = found["offline"].replace("python", sys.executable, 1)
    done = subprocess.run(offline, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == "in the log: True \nthis record: True\n"
    assert call("audit", "prove", "zzz", "--playbook", company).code == 2


def test_the_doctor_finds_a_key_that_others_can_read(company: Path, tmp_path: Path) -> None:
    healthy = call("doctor", "--playbook", company, "--json")
    assert healthy.code == 0, healthy.out
    found = {one["name"]: one["status"] for one in healthy.json["checks"]}
    assert found["ledger"] == found["sqlite"] == found["keys"] == found["store"] == "ok"
    folder = tmp_path / "copy"
    shutil.copytree(company, folder)
    (folder / ".opportune/eu/keys/region.key").chmod(0o644)
    said = call("doctor", "--playbook", folder)
    assert said.code == 1
    assert "run chmod 600" in said.out


def test_reading_commands_say_when_nothing_is_stored(playbook: Path) -> None:
    for command in (("releases",), ("quarantine",), ("replay", "--last", "1"), ("audit", "verify"),
                    ("explain", "x"), ("train", "expansion")):  # fmt: skip
        said = call(*command, "--playbook", playbook)
        assert said.code == 2, command
        assert "nothing is stored" in said.err
    assert call("models", "--playbook", playbook).code == 0
    assert call("doctor", "--playbook", playbook).code == 0
    assert not (playbook / ".opportune").exists()
