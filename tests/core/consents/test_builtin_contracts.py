"""What every release can be told; a playbook's own contract may replace the built-in, but not silence it."""

from __future__ import annotations

from typing import Any

import pytest

from opportune.core.builtin_contracts import BUILTIN_CONTRACTS, narrower, with_builtins, with_meaning
from opportune.core.contracts import compile_contract
from opportune.core.signals import SignalContract

OBJECT = {"type": "object"}


def own(signal: str, schema: dict[str, Any] | None = None, **more: Any) -> SignalContract:
    return SignalContract(signal=signal, owner="tests", schema=schema or OBJECT, **more)


def test_all_are_there_and_every_field_has_a_class() -> None:
    assert {one.signal for one in BUILTIN_CONTRACTS} == {
        "consent.given", "consent.refused", "consent.withdrawn", "consent.expired", "feedback.given"
    }  # fmt: skip
    for contract in BUILTIN_CONTRACTS:
        assert contract.version == 1
        assert all("class" in field for field in contract.schema["properties"].values())
        assert narrower(compile_contract(contract)) is None


def test_a_playbooks_own_contract_replaces_the_built_in_whole() -> None:
    mine = own("consent.given", version=2)
    found = with_builtins((mine,))
    assert [one for one in found if one.signal == "consent.given"] == [mine]
    assert len(found) == len(BUILTIN_CONTRACTS)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"purpose": "*", "channels": ["*"]}, ".purpose"),
        ({"purpose": "marketing"}, ""),
        ({"purpose": "marketing", "channels": []}, ".channels"),
        ({"purpose": "marketing", "channels": ["*"], "basis": "because"}, ".basis"),
    ],
)
def test_what_means_nothing_is_named_by_field(data: dict[str, Any], path: str) -> None:
    (given,) = [with_meaning(compile_contract(one)) for one in BUILTIN_CONTRACTS if one.signal == "consent.given"]
    assert [where for where, _ in given.validate(data)] == [path]


def test_an_own_contract_cannot_permit_everything_either() -> None:
    lax = with_meaning(compile_contract(own("consent.given")))
    (problem,) = lax.validate({"purpose": "*"})
    assert problem[0] == ".purpose"
    assert "name one purpose" in problem[1]
    withdrawn = with_meaning(compile_contract(own("consent.withdrawn")))
    assert list(withdrawn.validate({"purpose": "*"})) == []


@pytest.mark.parametrize(
    "contract",
    [
        own("consent.withdrawn", {**OBJECT, "properties": {"purpose": {}}, "additionalProperties": False}),
        own("consent.refused", {**OBJECT, "required": ["agent"]}),
        own("consent.given", about="both"),
    ],
)
def test_an_own_contract_that_would_keep_pages_and_browsers_out_is_refused(contract: SignalContract) -> None:
    assert narrower(compile_contract(contract))
    assert narrower(compile_contract(own("order.placed", {**OBJECT, "required": ["id"]}))) is None
