"""Drift of a live model: found once, kept whole or not at all, followed by what the policy says, decided by people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from drifting import POLICY, ask_all, book, card, use_more, watched_region

from opportune.core.drift.cases import CaseError
from opportune.core.models import LearnError, card_hash
from opportune.core.models.disagreement import Disagreement, encode_disagreement
from opportune.doors.cli.watching import retrained_of, watcher
from opportune.flows.learning import drift_cases
from opportune.flows.learning.drift_cases import Retrained, case_named, decide, follow, retrain
from opportune.flows.region import Region
from opportune.ports import StoredDrift
from opportune.testing.approving import approve_all

pytestmark = pytest.mark.slow

FALL_BACK = msgspec.structs.replace(POLICY, actions={"input": "fall_back"})
RETRAIN = msgspec.structs.replace(POLICY, actions={"input": "propose_retraining"})


def leaves_of(region: Region, kind: str) -> list[dict[str, Any]]:
    every = [msgspec.json.decode(one) for one in region.records.leaves(0, region.records.leaf_count())]
    return [one for one in every if one["type"] == kind]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_without_drift_windows_are_looked_at_and_nothing_is_found(tmp_path: Path, kind: str) -> None:
    with watched_region(tmp_path, kind=kind) as region:
        ask_all(region, 6 if kind == "memory" else 3)
        looked = region.drift.check()
        windows = [(one.look, one.rows) for one in looked.reports if one.series == "inputs"]
        assert windows == [(1, 300), (2, 300)][: len(windows)]
        assert windows
        assert any(one.series == "answers" for one in looked.reports)
        assert all(one.measured for one in looked.reports)
        assert [words for one in looked.reports for words in (f.words for f in one.found)] == []
        assert leaves_of(region, "drift") == []
        assert region.drift.check().reports == ()
        assert len(region.drift.reports(100)) == len(looked.reports)


def test_drift_is_found_once_and_is_in_the_ledger(tmp_path: Path) -> None:
    with watched_region(tmp_path) as region:
        use_more(region)
        ask_all(region, 3)
        looked = region.drift.check("small")
        assert {one.what for one in looked.reports[0].found if one.kind == "input"} == {"used"}
        assert looked.cases == (), "an input is only flagged, unless the playbook says otherwise"
        entry = leaves_of(region, "drift")[0]
        assert (entry["model"], entry["found"]) == ("small", len(looked.reports[0].found))
        assert region.drift.check("small").reports == ()
        assert len(leaves_of(region, "drift")) == 1


def test_a_window_that_is_not_full_is_looked_at_only_on_demand(tmp_path: Path) -> None:
    with watched_region(tmp_path) as region:
        ask_all(region, 1)
        region.clock.at_ms += 10_000  # type: ignore[attr-defined]  # a frozen clock
        assert region.drift.check().waiting == (("small", 120),)
        early = region.drift.check(early=True)
        assert [(one.rows, one.early) for one in early.reports] == [(120, True)]
        with pytest.raises(LookupError, match="small"):
            region.drift.check("other")


def test_a_card_without_a_snapshot_is_said_not_to_be_watched(tmp_path: Path) -> None:
    one = card()
    bare = msgspec.structs.replace(one, training=msgspec.structs.replace(one.training, snapshot=None))
    with watched_region(tmp_path, cards=(bare,)) as region:
        ask_all(region, 3)
        looked = region.drift.check()
        assert looked.reports == ()
        assert "train it again" in dict(looked.not_watched)["small"]


def test_a_look_that_is_interrupted_leaves_nothing_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched_region(tmp_path, RETRAIN) as region:
        use_more(region)
        ask_all(region, 3)
        before = region.records.leaf_count()

        def dies(*_: object) -> None:
            raise OSError("killed")

        with monkeypatch.context() as patched:
            patched.setattr(type(region.drift), "_leaf", dies)
            with pytest.raises(OSError, match="killed"):
                region.drift.check()
        assert (region.drift.reports(9), region.drift.cases(), region.records.leaf_count()) == ([], [], before)
        again = region.drift.check()
        assert [one.look for one in again.reports if one.series == "inputs"] == [1]
        assert [one.status for one in region.drift.cases()] == ["proposed"]


def test_two_looks_at_the_same_window_are_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched_region(tmp_path, RETRAIN) as region:
        use_more(region)
        ask_all(region, 3)
        keep, meanwhile = type(region.drift)._keep, list[Any]()

        def overtaken(self: Any, look: Any, watch: Any) -> Any:
            if not meanwhile:
                meanwhile.append(True)
                meanwhile.append(keep(self, look, watch))
            return keep(self, look, watch)

        monkeypatch.setattr(type(region.drift), "_keep", overtaken)
        looked = region.drift.check()
        assert [one.series for one in looked.reports if one.series == "inputs"] == []
        assert len(region.drift.cases()) == len(meanwhile[1]) == 1
        assert len(leaves_of(region, "drift")) == 1


def test_fall_back_makes_the_earlier_artefact_live_and_can_be_undone(tmp_path: Path) -> None:
    first, second = card(1, "first"), card(2, "second")
    with watched_region(tmp_path, FALL_BACK, (first, second)) as region:
        drifted = region.releases.live().hash
        use_more(region)
        ask_all(region, 3)
        region.drift.check()
        assert {one.status for one in region.drift.cases()} == {"falling_back", "proposed"}
        moved = follow(region, region.drift)
        assert [one.status for one in moved] == ["fallen_back"]
        assert [card_hash(one) for one in region.releases.live().cards] == [card_hash(first)]
        assert region.records.live_history()[0][2] == "drift"
        assert follow(region, region.drift) == []
        assert region.rollback("ada", "it was the season") == drifted


def test_without_an_earlier_artefact_the_priors_decide(tmp_path: Path) -> None:
    with watched_region(tmp_path, FALL_BACK) as region:
        use_more(region)
        ask_all(region, 3)
        region.drift.check()
        follow(region, region.drift)
        assert region.releases.live().cards == ()
        assert "priors" in case_named(region, "fall-back").steps[-1].why


def test_a_person_may_have_refused_what_would_take_its_place(tmp_path: Path) -> None:
    first, second = card(1, "first"), card(2, "second")
    with watched_region(tmp_path, FALL_BACK, (first, second)) as region:
        people = {"ada": ("model_owner",)}
        region.registry.refuse(card_hash(first), "ada", people, "it was unfair")  # type: ignore[arg-type]  # roles
        use_more(region)
        ask_all(region, 3)
        region.drift.check()
        follow(region, region.drift)
        assert region.releases.live().cards == (), "never what a person has refused"


def test_falling_back_is_taken_up_again_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched_region(tmp_path, FALL_BACK, (card(1, "first"), card(2, "second"))) as region:
        use_more(region)
        ask_all(region, 3)
        region.drift.check()
        advance = drift_cases._advance

        def dies(*_: object, **__: object) -> Any:
            raise OSError("killed")

        monkeypatch.setattr(drift_cases, "_advance", dies)
        with pytest.raises(OSError, match="killed"):
            follow(region, region.drift)
        promotions = len(region.records.live_history())
        monkeypatch.setattr(drift_cases, "_advance", advance)
        assert [one.status for one in follow(region, region.drift)] == ["fallen_back"]
        assert len(region.records.live_history()) == promotions, "what was promoted is not promoted again"


def test_what_customers_do_otherwise_than_predicted_is_proposed_for_training(tmp_path: Path) -> None:
    with watched_region(tmp_path) as region:
        ask_all(region, 8, buys=0.0)
        region.drift.check()
        case = region.drift.cases()[0]
        assert (case.kind, case.status) == ("retraining", "proposed")
        assert any("less happens" in words for words in case.words)


def test_retraining_waits_for_a_person_then_for_the_artefacts_own_approval(tmp_path: Path) -> None:
    with watched_region(tmp_path, RETRAIN) as region:
        use_more(region)
        ask_all(region, 3)
        region.drift.check()
        id_ = region.drift.cases()[0].id
        with pytest.raises(CaseError, match="waits for this"):
            retrain(region, id_, lambda model: Retrained("x"))
        for by, said in (("nobody", "people"), ("lee", "model_owner")):
            with pytest.raises(CaseError, match=said) as error:
                decide(region, id_, approve=True, by=by, why="yes")
            assert error.value.code == "person"
        decide(region, id_, approve=True, by="ada", why="the season is over")

        def cannot(model: str) -> Retrained:
            raise LearnError("too few rows")

        assert retrain(region, id_, cannot).status == "failed"
        decide(region, id_, approve=True, by="ada", why="there are more rows now")
        new = card(9, "again")
        assert retrain(region, id_, lambda model: Retrained(card_hash(new), "auc is 0.4")).status == "failed"
        decide(region, id_, approve=True, by="ada", why="once more")
        assert retrain(region, id_, lambda model: Retrained(card_hash(new))).artefact == card_hash(new)
        assert follow(region, region.drift) == []
        approve_all(region, [new])
        region.promote(region.release(book(RETRAIN), (new,)).hash, "ada", "after drift")
        assert [one.status for one in follow(region, region.drift)] == ["done"]
        assert [one["step"] for one in leaves_of(region, "drift_case")] == [
            "approved", "failed", "approved", "failed", "approved", "trained", "done",
        ]  # fmt: skip


def test_a_refused_case_is_not_opened_again_by_the_same_signs(tmp_path: Path) -> None:
    with watched_region(tmp_path, RETRAIN) as region:
        use_more(region)
        ask_all(region, 3)
        region.drift.check()
        decide(region, region.drift.cases()[0].id, approve=False, by="ada", why="it is a campaign")
        ask_all(region, 3)
        looked = region.drift.check()
        assert any(one.found for one in looked.reports)
        same = {sign for case in region.drift.cases() for sign in case.signs}
        assert all(not set(case.signs) <= same or case.status == "refused" for case in region.drift.cases()[-1:])
        assert [case.status for case in region.drift.cases() if case.kind == "retraining"][-1] == "refused"


def test_the_server_looks_follows_and_trains_by_itself_once_a_person_said_yes(tmp_path: Path) -> None:
    with watched_region(tmp_path, RETRAIN) as region:
        asked: list[str] = []

        def train(model: str, rest: object) -> Retrained:
            asked.append(model)
            return Retrained("f" * 32)

        chore = watcher(region, train)
        use_more(region)
        ask_all(region, 3)
        chore._turn(lambda seconds: None)
        assert [case.status for case in region.drift.cases()] == ["proposed"]
        assert asked == []
        decide(region, region.drift.cases()[0].id, approve=True, by="ada", why="yes")
        chore._turn(lambda seconds: None)
        assert (asked, region.drift.cases()[0].status) == (["small"], "trained")
        chore._turn(lambda seconds: None)
        assert asked == ["small"]


def test_heavier_models_that_disagree_more_often_than_at_first_are_an_alarm(tmp_path: Path) -> None:
    with watched_region(tmp_path) as region:
        ask_all(region, 3)
        live = region.releases.live().cards[0]
        fast, now_ms = f"{live.model}@{card_hash(live)[:12]}", region.clock.now_ms()

        def day(name: str, at_ms: int, other_best: int) -> StoredDrift:
            one = Disagreement(fast, "heavy", at_ms, at_ms, 600, 1_200, other_best=other_best)
            return StoredDrift(name, at_ms, "disagreement", fast, "heavy", "disagreement", 0, encode_disagreement(one))

        for one in (day("d1", 5, 30), day("d2", now_ms, 150)):
            region.records.run(lambda tx, one=one: tx.put_drift(one))  # type: ignore[misc]  # bound now
        report = region.drift.check().reports[0]
        found = [one for one in report.found if one.kind == "disagreement"]
        assert [(one.before, one.now) for one in found] == [(0.05, 0.25)]
        assert "disagrees more often" in found[0].words


def test_what_training_printed_is_read() -> None:
    gates = [{"passed": False, "message": "auc is 0.4"}, {"passed": True, "message": "rows is 900"}]
    assert retrained_of(msgspec.json.encode({"card": "c", "gates": gates})) == Retrained("c", "auc is 0.4")
    for said in (b"", b'{"error": "no offer has 50 examples"}'):
        with pytest.raises(LearnError):
            retrained_of(said)
