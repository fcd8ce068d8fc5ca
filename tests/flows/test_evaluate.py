"""What another release would have earned: near the truth, honest where the log cannot say, nothing counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from judged import BUYS, exploring, lived
from small import DAY_MS, consenting, playbook, question, region_of

from opportune.core.decisions.chances import chances, done
from opportune.core.decisions.records import decode_record
from opportune.core.offpolicy import LogError, SharedThenOwn
from opportune.core.outcomes import OutcomePost
from opportune.core.policies import Policy
from opportune.core.signals import format_time
from opportune.flows.learning.evaluate import Evaluation, evaluate
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock

pytestmark = pytest.mark.slow

CUSTOMERS = 2_500


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    """Customers who were decided with exploration and a hold-out of a tenth, and bought as BUYS says."""
    clock = FrozenClock()
    with region_of(tmp_path_factory.mktemp("judged"), exploring(), clock=clock) as region:
        lived(region, clock, CUSTOMERS)
        yield region


def judged(region: Region, release: str, **more: object) -> Evaluation:
    asked = {"last": 100_000, "window_ms": 14 * DAY_MS, **more}
    return evaluate(region, release, SharedThenOwn(), **asked)  # type: ignore[arg-type]  # as the tests write them


def truth(region: Region, release: str) -> float:
    """The expected share of buyers per decision under a release, from its chances and what is known of customers."""
    brain = region.releases.brain_of(release)
    total = 0.0
    for stored in region.records.decisions(CUSTOMERS):
        for action, chance in chances(brain, decode_record(stored.record)).items():
            offer = None if action == "NO_OFFER" else action.partition("@")[0]
            total += chance * BUYS[offer]
    return total / CUSTOMERS


def test_a_release_that_offers_what_people_want_is_found_to_earn_more(region: Region) -> None:
    better = region.release(exploring(margin=100.0), note="addon first").hash

    found = judged(region, better).judgement

    assert found.overlap.grade == "good", found.overlap
    assert found.value is not None
    assert found.difference is not None
    assert found.value.interval.holds(truth(region, better))
    assert found.difference.interval.low > 0.0
    gained = truth(region, better) - truth(region, str(region.records.live()))
    assert found.difference.interval.holds(gained)
    assert {one.action for one in found.mix} >= {"seats@in_app", "addon@in_app", "NO_OFFER"}


def test_the_live_release_earns_what_it_earned(region: Region) -> None:
    found = judged(region, str(region.records.live())).judgement

    assert found.value is not None
    assert found.difference is not None
    assert found.value.interval.holds(truth(region, str(region.records.live())))
    assert abs(found.difference.value) < 1e-12
    assert found.difference.interval.high < 1e-9


def test_what_is_bought_without_an_offer_counts_once(region: Region) -> None:
    found = judged(region, str(region.records.live()))

    counts = region.records.counts()
    assert found.unplaced == 0
    assert found.late == 0
    assert found.judgement.earned * found.judgement.rows == pytest.approx(counts["outcomes.converted"])
    assert found.judgement.rows == CUSTOMERS == found.decisions


def test_held_out_units_are_evidence_of_offering_nothing(region: Region) -> None:
    """Without the hold-out's rows, nothing says what customers do who are offered nothing."""
    book = exploring()
    forbids = Policy(id="none", effect="forbid", class_="commercial", when="true", reason="a pause", owner="tests")
    paused = region.release(msgspec.structs.replace(book, policies=(*book.policies, forbids)), note="pause").hash

    found = judged(region, paused).judgement

    assert found.value is not None
    assert found.value.interval.holds(BUYS[None])
    assert found.overlap.effective_rows > 250.0


def test_groups_add_up_and_unknown_ones_are_refused(region: Region) -> None:
    better = region.release(exploring(margin=100.0), note="addon first").hash

    found = judged(region, better, by=("used",))

    assert {part.by for part in found.judgement.parts} == {"moment", "used"}
    assert sum(part.rows for part in found.judgement.parts if part.by == "moment") == found.judgement.rows
    with pytest.raises(Exception, match="did you mean `used`"):
        judged(region, better, by=("usd",))


def test_the_same_records_give_the_same_answer(region: Region) -> None:
    better = region.release(exploring(margin=100.0), note="addon first").hash

    assert judged(region, better) == judged(region, better)


def test_too_short_a_window_is_refused_with_what_to_do(region: Region) -> None:
    with pytest.raises(LogError, match=r"50 of 50 decisions .* 200 are needed: look at more with `--last`"):
        judged(region, str(region.records.live()), last=50)
    with pytest.raises(LogError, match="the window for outcomes is not over"):
        judged(region, str(region.records.live()), window_ms=400 * DAY_MS)


def test_what_was_never_tried_is_refused(tmp_path: Path) -> None:
    """Without exploration the log has only what the live release thinks best."""
    clock = FrozenClock()
    with region_of(tmp_path, playbook(), clock=clock) as region:
        lived(region, clock, 400)
        other = region.release(playbook(margin=100.0), note="addon first").hash

        found = judged(region, other).judgement

    assert found.value is None
    assert found.difference is None
    assert found.overlap.grade == "none"
    assert found.overlap.unsupported == 1.0
    assert any("never tried" in reason for reason in found.overlap.reasons)


def test_a_late_purchase_is_counted_as_late(tmp_path: Path) -> None:
    clock = FrozenClock()
    with region_of(tmp_path, exploring(), clock=clock) as region:
        lived(region, clock, 250)
        first = region.records.decisions(1, disposition="offered")[0]
        clock.at_ms += 30 * DAY_MS
        post = OutcomePost(kind="converted", decision=first.id, id="late", at=format_time(first.at_ms + 20 * DAY_MS))
        before = judged(region, str(region.records.live()))
        region.act.run([post])
        after = judged(region, str(region.records.live()))

    assert (after.late, before.late) == (1, 0)
    assert after.judgement.earned == before.judgement.earned


def test_a_candidate_for_review_is_another_action(tmp_path: Path) -> None:
    """What came of an offer that a person looked at first says nothing of the offer alone."""
    book = exploring(holdout=0.0)
    review = Policy(id="look", effect="require_review", class_="commercial", when="offer.id == 'seats'",
                    reason="look first", owner="tests")  # fmt: skip
    clock = FrozenClock()
    with region_of(tmp_path, msgspec.structs.replace(book, policies=(*book.policies, review)), clock=clock) as region:
        consenting(region, *(name := [f"c{number}" for number in range(40)]))
        for one in name:
            region.decide.run(question(one))
        plain = region.release(book, note="nobody looks").hash
        records = [decode_record(one.record) for one in region.records.decisions(40)]
        live = region.releases.brain()
        other = region.releases.brain_of(plain)

    for record in records:
        assert done(record) in chances(live, record)
        assert "seats@in_app/review" in chances(live, record)
        assert "seats@in_app/review" not in chances(other, record)
        assert chances(live, record)[str(done(record))] == pytest.approx(record.result.action_probability)
