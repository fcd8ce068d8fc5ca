"""`evaluate` and `feedback` on a small company and on an imported log: what they say, and what they refuse."""

from __future__ import annotations

import csv
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from opportune.adapters.system.clock import SystemClock
from opportune.core.decisions.records import decode_record
from opportune.core.feedback import Feedback
from opportune.main import Machine

from .called import call, change

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two actions tried evenly, of which the second pays .3 and the first .1; the target does the second."""
    generator = np.random.default_rng(1)
    file = tmp_path_factory.mktemp("imported") / "log.csv"
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["action", "probability", "reward", "target:a", "target:b", "unit", "plan", "seats"])
        for number in range(3_000):
            action = "ab"[int(generator.random() < 0.5)]
            reward = float(generator.random() < (0.3 if action == "b" else 0.1))
            rows.writerow([action, 0.5, reward, 0.1, 0.9, f"u{number // 2}", "team", int(generator.integers(1, 90))])
    return file


def test_an_imported_log_is_judged(imported: Path) -> None:
    found = call("evaluate", "--log", imported, "--json")
    said = call("evaluate", "--log", imported)

    assert found.code == 0, found
    value, difference = found.json["value"], found.json["difference"]
    assert value["interval"]["low"] < 0.28 < value["interval"]["high"]
    assert difference["interval"]["low"] > 0.05
    assert (found.json["rows"], found.json["units"]) == (3_000, 1_500)
    assert set(found.json["estimators"]) == {"ips", "snips", "dm", "dr", "sndr", "switch_dr", "dr_os"}
    assert "it earns more, at 95 % confidence" in said.out
    assert "doubly robust" in said.out


def test_the_chance_of_what_was_done_is_enough_for_ips(imported: Path, tmp_path: Path) -> None:
    file = tmp_path / "short.csv"
    with imported.open() as read, file.open("w") as write:
        for number, row in enumerate(csv.reader(read)):
            target = "target" if number == 0 else row[4] if row[0] == "b" else row[3]
            write.write(",".join([*row[:3], target]) + "\n")

    found = call("evaluate", "--log", file, "--json").json
    whole = call("evaluate", "--log", imported, "--json").json

    assert set(found["estimators"]) == {"ips", "snips"}
    assert found["estimators"]["ips"]["value"] == pytest.approx(whole["estimators"]["ips"]["value"])
    assert found["value"]["value"] == pytest.approx(found["estimators"]["snips"]["value"])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("action,probability", "act,probability", "has no column `action`"),
        ("target:a,target:b", "left,right", "add `target`, or one `target:<action>`"),
        ("a,0.5,", "a,0,", "`probability` is 0"),
        (",0.1,0.9,", ",0.5,0.9,", "the chances of `target` sum to 1.4"),
        ("b,0.5,", "c,0.5,", "no column `target:c`"),
    ],
)
def test_a_wrong_log_is_one_sentence(imported: Path, tmp_path: Path, old: str, new: str, sentence: str) -> None:
    file = tmp_path / "wrong.csv"
    text = imported.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))

    said = call("evaluate", "--log", file)

    assert (said.code, len(said.err.splitlines())) == (2, 1), said
    assert sentence in said.err


@pytest.fixture
def a_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon after its decisions the company is asked about."""
    now_ms = SystemClock.now_ms
    monkeypatch.setattr(SystemClock, "now_ms", lambda clock: now_ms(clock) + 60_000)


@pytest.mark.usefixtures("a_minute_later")
def test_a_release_is_judged_over_the_companys_own_log(company: Path) -> None:
    release = call("releases", "--playbook", company, "--json").json["live"]

    found = call("evaluate", release[:8], "--window", "1s", "--by", "plan", "--playbook", company, "--json")
    said = call("evaluate", release, "--window", "1s", "--playbook", company)

    assert found.code == 0, found
    assert found.json["release"] == release
    assert found.json["judgement"]["overlap"]["grade"] == "good"
    assert found.json["judgement"]["difference"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert {one["by"] for one in found.json["judgement"]["parts"]} == {"moment", "plan"}
    assert "nothing was written" in said.out


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ((), "name a RELEASE"),
        (("r0",), "no release is called `r0`"),
        (("LIVE", "--reward", "luck"), "one of conversion, value"),
        (("LIVE", "--window", "soon"), "`soon` is not a duration"),
        (("LIVE", "--last", "10", "--window", "1s"), "200 are needed"),
        (("LIVE", "--by", "plam", "--window", "1s"), "did you mean `plan`"),
        (("--log", "nothing.csv"), "is no file"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(company: Path, asked: tuple[str, ...], sentence: str) -> None:
    live = call("releases", "--playbook", company, "--json").json["live"]
    said = call("evaluate", *(live if one == "LIVE" else one for one in asked), "--playbook", company)

    assert (said.code, len(said.err.splitlines())) == (2, 1), said
    assert sentence in said.err


def test_feedback_without_any_says_so(company: Path) -> None:
    assert "nobody has answered" in call("feedback", "people", "--playbook", company).out
    assert "no rule stands out" in call("feedback", "proposals", "--playbook", company).out
    assert "wrong_need" in call("feedback", "reasons", "--playbook", company).out


def test_what_people_say_becomes_a_rule_of_the_playbook(company: Path, tmp_path: Path) -> None:
    """Reviewers reject one offer for small accounts; the rule is proposed, accepted, compiles and is in the ledger."""
    folder = tmp_path / "playbook"
    copytree(company, folder)
    review = "id: permit.in_product\n    effect: permit"
    look = (
        "id: look.first\n    effect: require_review\n    class: commercial\n    reason: look first\n"
        "    owner: tests\n    version: 1\n\n  - " + review
    )
    change(folder / "policies/commercial.yaml", review, look)
    release = call("release", "--playbook", folder, "--json").json["release"]
    assert call("promote", release, "--playbook", folder).code == 0
    assert call("decide", "--all", "--moment", "usage.limit_reached", "--playbook", folder).code == 0
    machine = Machine()
    with machine.writing(machine.place(folder, None)) as region:
        for number, one in enumerate(region.records.decisions(10_000, disposition="escalated")):
            seats = decode_record(one.record).seen.features["seats"]
            small = one.offer is not None and one.offer.startswith("seats") and seats < 40
            by = "ann" if number % 2 else "bo"
            said = Feedback("reject", by, ("wrong_need",)) if small else Feedback("approve", by)
            region.answer.review(one.id, said)

    found = call("feedback", "proposals", "--playbook", folder, "--json").json
    assert found, call("feedback", "reasons", "--playbook", folder).out
    id_ = found[0]["proposal"]["id"]
    accepted = call("feedback", "accept", id_, "--last", "500", "--playbook", folder, "--json")

    assert accepted.code == 0, accepted
    assert accepted.json["changed"] > 0
    assert Path(accepted.json["file"]).read_text().count("effect: forbid") == 1
    assert call("check", "--playbook", folder).code == 0
    assert call("feedback", "accept", id_, "--playbook", folder).code == 2
    assert call("feedback", "proposals", "--playbook", folder, "--json").json[0]["standing"]["status"] == "accepted"
    assert call("feedback", "refuse", "nothing", "--playbook", folder).code == 2
    assert call("audit", "verify", "--playbook", folder).code == 0
