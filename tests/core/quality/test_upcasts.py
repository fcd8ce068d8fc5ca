"""Older versions: made the newest by upcasters, in a chain; accepted as they are without one; all wrong ones placed."""

from __future__ import annotations

from typing import Any

import pytest

from opportune.core.contracts import ContractError, compile_contracts
from opportune.core.signals import Checked, CompiledContract, Draft, SignalContract, check, content_hash, upcast

NOW_MS = 1_795_478_400_000


def version(number: int, upcast: dict[str, dict[str, str]] | None = None, **properties: Any) -> SignalContract:
    required = properties.pop("required", [])
    schema = {"type": "object", "properties": properties, "required": required}
    return SignalContract(signal="plan.changed", version=number, owner="tests", schema=schema, upcast=upcast or {})


TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
FIRST = version(1, tier=TEXT, seats=WHOLE, at=TEXT)
SECOND = version(
    2,
    {"1": {"plan": "data.tier == 'Pro' ? 'business' : data.tier", "since": "timestamp(data.at)"}},
    plan=TEXT, seats=WHOLE, since={"type": "string", "format": "date-time"}, required=[],
)  # fmt: skip
THIRD = version(3, {"2": {"size": "data.seats / 10"}}, plan=TEXT, size={"type": "integer", "maximum": 9}, seats=WHOLE)


def registry(*contracts: SignalContract) -> dict[tuple[str, int], CompiledContract]:
    return compile_contracts(contracts)


def checked(contracts: dict[tuple[str, int], CompiledContract], number: int, **data: Any) -> Checked:
    return check(Draft("tests", "1", "plan.changed", subject="ada", version=number, data=data), contracts, NOW_MS)


def test_data_goes_on_through_every_version() -> None:
    contracts = registry(FIRST, SECOND, THIRD)
    found = checked(contracts, 1, tier="Pro", seats=25, at="2026-01-01T00:00:00Z", unknown=1)
    assert found.signal is not None
    assert found.signal.version == 3
    assert found.signal.data == {"plan": "business", "seats": 25, "size": 2}
    two = checked(contracts, 2, plan="team", seats=30).signal
    assert two is not None
    assert (two.version, two.data) == (3, {"plan": "team", "seats": 30, "size": 3})


def test_a_timestamp_becomes_text_and_what_is_missing_is_left_out() -> None:
    contracts = registry(FIRST, SECOND)
    found = checked(contracts, 1, at="2026-01-01T00:00:00Z").signal
    assert found is not None
    assert found.data == {"since": "2026-01-01T00:00:00.000Z"}


def test_what_the_newer_schema_refuses_is_named_with_its_field() -> None:
    found = checked(registry(FIRST, SECOND, THIRD), 2, seats=500)
    assert found.signal is None
    (problem,) = found.problems
    assert (problem.code, problem.field) == ("upcast", "data.size")
    assert "made from version 2" in problem.message


def test_an_expression_without_an_answer_keeps_the_signal_out() -> None:
    found = checked(registry(FIRST, SECOND), 1, at="last week")
    assert [(problem.code, problem.field) for problem in found.problems] == [("upcast", "data.since")]


def test_the_older_schema_is_held_first() -> None:
    found = checked(registry(FIRST, SECOND), 1, tier=7)
    assert [(problem.code, problem.field) for problem in found.problems] == [("schema", "data.tier")]


def test_without_an_upcaster_an_older_version_stays_what_it_is() -> None:
    plain = version(2, tier=TEXT, seats=WHOLE, at=TEXT, more=TEXT)
    found = checked(registry(FIRST, plain), 1, tier="Pro").signal
    assert found is not None
    assert (found.version, found.data) == (1, {"tier": "Pro"})


def test_the_same_delivery_is_the_same_fact_before_and_after_an_upcaster() -> None:
    before, after = checked(registry(FIRST), 1, tier="Pro"), checked(registry(FIRST, SECOND), 1, tier="Pro")
    assert before.signal is not None
    assert after.sent is not None
    assert content_hash(before.signal) == content_hash(after.sent)


def test_the_log_is_read_as_the_newest_version() -> None:
    stored = checked(registry(FIRST), 1, tier="Pro", seats=25).signal
    assert stored is not None
    read = upcast(stored, registry(FIRST, SECOND, THIRD))
    assert (read.version, read.data) == (3, {"plan": "business", "seats": 25, "size": 2})
    assert upcast(read, registry(FIRST, SECOND, THIRD)) is read


WRONG: list[tuple[dict[str, dict[str, str]], tuple[str, ...], str]] = [
    ({"7": {"plan": "data.tier"}}, ("upcast", "7"), "no version `7`"),
    ({"2": {"plan": "data.plan"}}, ("upcast", "2"), "no version `2`"),
    ({"1": {"plam": "data.tier"}}, ("upcast", "1", "plam"), "has no field `plam`"),
    ({"1": {"plan": "data.teir"}}, ("upcast", "1", "plan"), "unknown name `data.teir`"),
    ({"1": {"plan": "data.seats"}}, ("upcast", "1", "plan"), "is int, but `plan` is string"),
    ({"1": {"seats": "data.seats"}}, ("upcast", "1"), "requires `plan`"),
    ({"1": {"plan": "data.tier"}}, ("upcast", "1"), "`at` carries over from version 1"),
]


@pytest.mark.parametrize(("upcasts", "path", "message"), WRONG)
def test_a_wrong_upcaster_is_refused(upcasts: dict[str, dict[str, str]], path: tuple[str, ...], message: str) -> None:
    newer = version(2, upcasts, plan=TEXT, seats=WHOLE, at=WHOLE, required=["plan"])
    with pytest.raises(ContractError, match=message.replace("[", r"\[")) as caught:
        registry(FIRST, newer)
    assert caught.value.problem.path == path
