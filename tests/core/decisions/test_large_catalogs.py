"""A large catalog decides as a small one does: only what is left is scored, and long masks are derived again."""

from __future__ import annotations

import msgspec
import pytest
from benchmarks import catalog_playbook

from opportune.core.decisions import kernel
from opportune.core.decisions.answers import answer_of
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.explain import fates_known, rules_fired, why_not
from opportune.core.decisions.kernel import run
from opportune.core.decisions.masks import NotDerived, count_of, first_of, mask_of, mask_text, stage_masks, whole
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, Seen, decode_record, encode_record
from opportune.core.decisions.shortlist import REQUIRES, shortlist
from opportune.core.releases import compile_release, encode_manifest

AT_MS = 1_780_000_000_000
ID = "01940000-0000-7000-8000-000000000000"
ASKED = Asked("ada", catalog_playbook.MOMENT, catalog_playbook.CHANNELS, {"used": 3})

class Faults:
    """Calm, but for the steps named."""

    def __init__(self, **faults: str) -> None:
        self.faults = faults

    def before(self, step: str) -> str | None:
        return self.faults.get(step)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def brain() -> Brain:
    book = catalog_playbook.playbook(800, 40.0, AT_MS)
    card = catalog_playbook.scorecard(book)
    half = msgspec.structs.replace(card, offers=card.offers[::2])  # the model covers every other offer
    return compile_release(encode_manifest(book, [half])).brain


def seen(brain: Brain, **values: object) -> Seen:
    features: dict[str, object] = dict.fromkeys(brain.views.names)
    features |= {name: 10 for name in brain.views.names if brain.views.types[name] == "int"}
    features |= {name: 1.0 for name in brain.views.names if brain.views.types[name] == "double"}
    features |= {"plan": "team", "region": "region_04", "industry": "industry_07", "trial": False, "seats": 60}
    consents = {f"marketing/{channel}": "given" for channel in catalog_playbook.CHANNELS}
    return Seen(AT_MS, None, "ada", {**features, **values}, {}, consents)


def record(brain: Brain, what: Seen) -> DecisionRecord:
    result = run(brain, ASKED, what, ID, Faults())
    made = DecisionRecord(RECORD_VERSION, ID, brain.release, "eu", ASKED, what, (), (), result)
    return decode_record(encode_record(made))


@pytest.mark.parametrize("usable", [True, False])
def test_scoring_what_is_left_equals_scoring_every_offer(
    brain: Brain, monkeypatch: pytest.MonkeyPatch, usable: bool
) -> None:
    """To the byte, with and without the model, also for offers that it does not cover."""
    faults = Faults() if usable else Faults(score="late")
    some = run(brain, ASKED, seen(brain), ID, faults)
    monkeypatch.setattr(kernel, "SCORED_WHOLE_MAX", 10**9)
    every = run(brain, ASKED, seen(brain), ID, faults)
    assert len(some.scored.values) > 5
    assert msgspec.json.encode(some) == msgspec.json.encode(every)


def test_a_record_keeps_long_masks_as_a_digest_and_they_are_derived_again(brain: Brain) -> None:
    made = record(brain, seen(brain))
    texts = {rule: text for _, rule, text in made.result.stages}
    assert not whole(texts[REQUIRES])
    assert count_of(texts[REQUIRES]) > 1000
    assert stage_masks(brain, made) == shortlist(brain, ASKED, made.seen).stages
    assert all(len(text) < 512 for text in texts.values())
    held = {one.candidate: one for one in why_not(brain, made)}
    assert len(held) == len(brain.candidates)
    first = brain.candidates[first_of(texts[REQUIRES])]
    assert f"offer.{first.offer.offer}.requires" in (held[first.id].rule, *held[first.id].also)


def test_what_offers_require_is_one_line_in_the_answer(brain: Brain) -> None:
    made = record(brain, seen(brain))
    fired = [one for one in rules_fired(brain, made) if one.stage == "eligibility" and "requires" in one.id]
    assert [(one.id, one.held_back) for one in fired] == [
        (REQUIRES, count_of({rule: text for _, rule, text in made.result.stages}[REQUIRES]))
    ]
    assert answer_of(brain, made).offer is not None


def test_a_set_that_is_derived_otherwise_than_recorded_is_never_shown_as_it(brain: Brain) -> None:
    made = record(brain, seen(brain))
    other = msgspec.structs.replace(made, seen=seen(brain, seats=61))
    with pytest.raises(NotDerived, match="held back other candidates"):
        stage_masks(brain, other)
    assert fates_known(brain, other) == ()
    assert fates_known(brain, made) == why_not(brain, made)


def test_a_missing_value_is_named_once_for_all_offers(brain: Brain) -> None:
    made = record(brain, seen(brain, industry=None))
    skipped = [(policy, names) for policy, _, names in made.result.skipped]
    assert (REQUIRES, ("industry",)) in skipped
    left = mask_of(made.result.scored.left)
    needing = [one for one in brain.candidates if "industry" in brain.required.names[one.offer.offer]]
    assert len(needing) > 100
    assert [one.id for one in needing if left >> one.index & 1] == []


def named(mask: int) -> str:
    """Python writes no number of thousands of digits in decimals."""
    return f"{mask.bit_length()}-{mask.bit_count()}"


@pytest.mark.parametrize("mask", [0, 1, 1 << 1023, 1 << 1024, 5 << 20_000, (1 << 3000) - 1, 1 | 1 << 19_999], ids=named)
def test_masks_as_text_keep_count_and_first(mask: int) -> None:
    text = mask_text(mask)
    assert count_of(text) == mask.bit_count()
    if mask:
        assert first_of(text) == (mask & -mask).bit_length() - 1
    if whole(text):
        assert mask_of(text) == mask
