"""A card keeps its name, refuses what does not fit, and can be read by people."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from scorecards import cards

from opportune.core.models import (
    FeatureTable,
    ModelError,
    Scorecard,
    card_hash,
    check_card,
    decode_card,
    describe,
    encode_card,
    model_card,
)


@settings(max_examples=50, deadline=None)
@given(cards())
def test_a_card_is_named_by_its_content(card: Scorecard) -> None:
    assert card_hash(decode_card(encode_card(card))) == card_hash(card)
    assert card_hash(msgspec.structs.replace(card, approved=False)) != card_hash(card)
    assert describe(card).startswith("m ")
    assert model_card(card).startswith("# Model card: m\n")


@settings(max_examples=30, deadline=None)
@given(cards().filter(lambda card: bool(card.features)))
def test_tables_that_do_not_fit_their_bins_are_refused(card: Scorecard) -> None:
    fewer = msgspec.structs.replace(card, features=card.features[:-1])
    with pytest.raises(ModelError, match="one part per bin for `o0`"):
        check_card(fewer)
    with pytest.raises(ModelError, match="names a feature twice"):
        check_card(msgspec.structs.replace(card, features=(*card.features, card.features[0])))


def test_bytes_that_are_no_card_are_refused() -> None:
    with pytest.raises(ModelError, match="not a scorecard"):
        decode_card(b'{"v":1}')


def test_bins_have_words() -> None:
    seats = FeatureTable("seats", "numeric", edges=(4.0, 9.5))
    assert [seats.bin_label(i) for i in range(4)] == ["missing", "below 4", "4 to 9.5", "9.5 and more"]
    assert seats.bin_of(4) == 2
    plan = FeatureTable("plan", "category", categories=("pro",))
    assert [plan.bin_label(plan.bin_of(v)) for v in (None, "gold", "pro")] == ["missing", "any other", "pro"]
    vip = FeatureTable("vip", "bool")
    assert [vip.bin_label(vip.bin_of(v)) for v in (None, False, True)] == ["missing", "no", "yes"]
