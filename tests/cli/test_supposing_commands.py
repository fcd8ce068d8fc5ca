"""`what-if`, `explain --flips` and `replay --release` on a small company: what they say, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from .called import call, change

pytestmark = pytest.mark.slow


def refused(company: Path) -> str:
    """A decision about somebody who did not consent."""
    from opportune.core.decisions.records import decode_record
    from opportune.wiring import open_for_reading

    region = open_for_reading(company / ".opportune", "larkfield", "eu")
    try:
        found = region.records.decisions(500, disposition="no_offer")
        return next(one.id for one in found if decode_record(one.record).result.reason == "NO_CONSENT")
    finally:
        region.records.close()


def test_what_if_lays_both_answers_beside_each_other(company: Path) -> None:
    id_ = refused(company)
    asked = ("what-if", id_, "--consent", "marketing/in_app=given", "--set", "seat_ratio=1.0", "--set", "role=admin",
             "--playbook", company)  # fmt: skip

    said = call(*asked)
    found = call(*asked, "--json").json

    assert said.code == 0
    assert "with consent to marketing by in_app given" in said.out
    assert "nothing was written" in said.out
    assert found["before"]["reason"] == "NO_CONSENT"
    assert found["after"]["reason"] != "NO_CONSENT"
    assert any(one["rule"] == "consent.marketing" and one["frees"] for one in found["rules"])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("--set", "seat_ration=1"), "did you mean `seat_ratio`"),
        (("--set", "seats=many"), "`many` is no int"),
        (("--set", "seats"), "write `seats=value`"),
        (("--consent", "marketing/inapp=given"), "did you mean `marketing/in_app`"),
        (("--contact", "seats_10"), "write `offer@channel`"),
        (("--release", "r0"), "no release is called `r0`"),
        (("--at", "soon"), "soon"),
    ],
)
def test_what_cannot_be_supposed_is_one_sentence(company: Path, asked: tuple[str, ...], sentence: str) -> None:
    said = call("what-if", refused(company), *asked, "--playbook", company)

    assert (said.code, len(said.err.splitlines())) == (2, 1), said
    assert sentence in said.err


def test_explain_says_what_would_have_made_each_loser_win(company: Path) -> None:
    id_ = refused(company)

    shown = call("explain", id_, "--flips", "--playbook", company)
    every = call("explain", id_, "--flips", "--playbook", company, "--json").json
    # Not every loser has such a change: that hangs on who was asked about, and on the decision's draw.
    said = next(one for one in every if one["candidate"].endswith("@in_app") and one["changes"])
    (one,) = call("explain", id_, "--candidate", said["candidate"], "--playbook", company, "--json").json

    assert shown.code == 0
    assert one == said
    assert "smallest change" in shown.out
    assert "consent to marketing by in_app given" in shown.out
    assert {"type": "consent", "key": "marketing/in_app", "status": "given"} in one["changes"]
    assert "no candidate is called `x`" in call("explain", id_, "--candidate", "x", "--playbook", company).err


def test_a_window_under_another_release_is_compared(company: Path, tmp_path: Path) -> None:
    from shutil import copytree

    folder = tmp_path / "playbook"
    copytree(company, folder)
    change(folder / "policies/guard.yaml", "consent.status != 'given'", "consent.status == 'withdrawn'")
    released = call("release", "--playbook", folder, "--json")
    assert released.code == 0, released.err
    hash_ = released.json["release"]

    said = call("replay", "--last", "100", "--release", hash_, "--by", "plan", "--playbook", folder)
    found = call("replay", "--last", "100", "--release", hash_, "--by", "plan", "--playbook", folder, "--json").json

    assert said.code == 1
    assert "would be answered otherwise" in said.out
    (rule,) = [one for one in found["policies"] if one["rule"] == "consent.marketing"]
    assert rule["frees"] >= rule["won"] > 0
    assert rule["holds_back"] == 0
    assert {one["segment"] for one in found["segments"]} <= {"team", "business", "enterprise", "missing"}
    assert call("replay", "--last", "100", "--by", "plan", "--playbook", folder).code == 2
    wrong = call("replay", "--last", "9", "--release", hash_, "--by", "pln", "--playbook", folder)
    assert (wrong.code, "did you mean `plan`" in wrong.err) == (2, True)
