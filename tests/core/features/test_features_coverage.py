"""Coverage: which cells hold the whole log, and which release's cells are retired when."""

from __future__ import annotations

import pytest

from opportune.core.features.coverage import (
    Coverage,
    begun,
    come_to,
    decode_coverage,
    encode_coverage,
    pruned,
    sharing,
)

OLD, NEW, NEXT = ("a", "b"), ("b", "c"), ("c", "d")
KEYS = {"old": OLD, "new": NEW, "next": NEXT}


def prepared() -> Coverage:
    first = sharing(begun(Coverage(), "old", OLD, 0), "old", (), KEYS)
    return sharing(begun(first, "new", NEW, 10), "old", ("new",), KEYS)


def test_an_empty_log_is_whole() -> None:
    assert begun(Coverage(), "old", OLD, 0).whole == OLD


def test_a_new_cell_is_owed_the_log_before_it() -> None:
    coverage = prepared()
    (owed,) = coverage.owed
    assert (owed.release, owed.keys, owed.end, owed.done) == ("new", ("c",), 10, 0)
    assert coverage.incomplete(NEW) == {"c"}
    assert coverage.folded == {"a", "b", "c"}
    assert [owed.holds(seq) for seq in (1, 10, 11)] == [False, False, True]
    half = come_to(coverage, owed, 4)
    assert [half.owed[0].holds(seq) for seq in (4, 5, 10, 11)] == [True, False, False, True]
    whole = come_to(half, half.owed[0], 10)
    assert (whole.whole, whole.owed) == (("a", "b", "c"), ())


def test_the_release_before_stays_until_the_next_is_promoted() -> None:
    coverage = come_to(prepared(), prepared().owed[0], 10)
    promoted = sharing(coverage, "new", ("old",), KEYS)
    assert (promoted.whole, promoted.dropped) == (("a", "b", "c"), ())
    third = sharing(begun(promoted, "next", NEXT, 20), "next", ("new",), KEYS)
    assert (third.whole, third.dropped, third.kept) == (("b", "c"), ("a",), ("new",))
    assert third.owed[0].keys == ("d",)


def test_a_retired_cell_is_pruned_before_it_is_folded_again() -> None:
    coverage = Coverage(whole=("b",), dropped=("a",))
    with pytest.raises(ValueError, match="pruned"):
        begun(coverage, "old", OLD, 30)
    assert begun(pruned(coverage, {"a"}), "old", OLD, 30).owed[0].keys == ("a",)


def test_a_backfill_of_a_retired_release_ends_with_it() -> None:
    assert sharing(prepared(), "old", (), KEYS).owed == ()
    assert sharing(prepared(), "old", (), KEYS).dropped == ("c",)


def test_it_is_kept_as_text() -> None:
    assert decode_coverage(encode_coverage(prepared())) == prepared()
