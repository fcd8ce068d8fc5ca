"""Cases go one way only, and what was refused is not asked again."""

from __future__ import annotations

from itertools import product

import pytest

from opportune.core.drift.cases import (
    NEXT,
    OPEN,
    WAITS,
    CaseError,
    DriftCase,
    advanced,
    decode_case,
    encode_case,
    news,
    opened,
    waits_for,
)

SIGNS = ("outcome/offered/",)


def case(kind: str = "retraining") -> DriftCase:
    return opened(kind, "expansion", "c" * 32, "c/answers/000003", ("less happens",), SIGNS, 5)  # type: ignore[arg-type]  # a kind


def test_a_case_takes_only_the_steps_that_follow() -> None:
    for status, after in product(NEXT, NEXT):
        at = case()
        at = DriftCase(**{**{f: getattr(at, f) for f in at.__struct_fields__}, "steps": (at.steps[0].__class__(
            5, status, "x", "y"),)})  # fmt: skip
        if after in NEXT[status]:
            assert advanced(at, after, 6, "ada", "why").status == after
        else:
            with pytest.raises(CaseError) as error:
                advanced(at, after, 6, "ada", "why")
            assert error.value.code == "stage"
            assert waits_for(at) in str(error.value)


def test_every_open_case_says_what_it_waits_for_and_every_other_is_over() -> None:
    assert set(WAITS) == set(NEXT)
    assert {status for status in NEXT if NEXT[status]} == set(OPEN)


def test_the_same_report_opens_the_same_case_and_its_bytes_come_back() -> None:
    one = case()
    assert one == case()
    assert decode_case(encode_case(one)) == one
    assert one.status == "proposed"
    assert case("fall_back").status == "falling_back"


def test_a_reason_is_asked_for() -> None:
    for why in ("", "  ", "x" * 1_001):
        with pytest.raises(CaseError) as error:
            advanced(case(), "approved", 6, "ada", why)
        assert error.value.code == "reason"


def test_only_news_opens_another_case() -> None:
    first = case()
    assert not news(SIGNS, [first], "retraining"), "it is open"
    assert news(SIGNS, [first], "fall_back")
    refused = advanced(first, "refused", 6, "ada", "it is the season")
    assert not news(SIGNS, [refused], "retraining"), "a person said no to just this"
    assert news((*SIGNS, "input/seats/"), [refused], "retraining")
    assert news(SIGNS, [], "retraining")
