"""What docs/schemas.md shows works as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import playbook_folders as folders
import pytest

from opportune.adapters.playbook import load
from opportune.core.contracts import compile_contracts, field_class, field_purposes
from opportune.core.quality import Lookups, judge
from opportune.core.signals import CompiledContract, Draft, check

DOC = Path(__file__).parents[3] / "docs/schemas.md"
NOW_MS = 1_795_478_400_000


@pytest.fixture
def registry(tmp_path: Path) -> dict[tuple[str, int], CompiledContract]:
    """Every example of the page, in one playbook."""
    folders.write(tmp_path)
    examples = re.findall(r"```yaml\n(.*?)```", DOC.read_text(), re.S)
    assert len(examples) == 2
    for number, example in enumerate(examples):
        (tmp_path / f"schemas/example_{number}.yaml").write_text(example)
    return compile_contracts(load(tmp_path).playbook.contracts)


def test_the_upcaster_of_the_page(registry: dict[tuple[str, int], CompiledContract]) -> None:
    draft = Draft("t", "1", "plan.changed", account="a", version=1, data={"tier": "Pro", "price": 4950, "seats": 3})
    found = check(draft, registry, NOW_MS).signal
    assert found is not None
    assert (found.version, found.data) == (2, {"plan": "business", "price": 49.5, "seats": 3})


def test_the_rules_of_the_page(registry: dict[tuple[str, int], CompiledContract]) -> None:
    contract = registry["order.placed", 1]
    lookups = Lookups(customer=bool, account=bool, offer=lambda id_: False, held=lambda rule, value: False)

    def outcome(time: str = "2026-11-20T00:00:00Z", **data: Any) -> tuple[Any, ...]:
        draft = Draft("t", "1", "order.placed", time, "ada", data={"order": "o", "amount": 1.0, **data})
        signal = check(draft, registry, NOW_MS).signal
        assert signal is not None
        judged = judge(contract, signal, NOW_MS, lookups)
        if judged.signal is None:
            return (judged.remedy,)
        return judged.signal.flags, judged.signal.data.get("currency")

    assert outcome(amount=100_001.0) == ("quarantine",)
    assert outcome(currency="usd ") == ((), "USD")
    assert outcome(currency="gold") == ((), "EUR")
    assert outcome(time="2026-01-01T00:00:00Z", coupon="x") == (("in_time", "coupon_known"), None)


def test_the_classes_and_purposes_of_the_page(registry: dict[tuple[str, int], CompiledContract]) -> None:
    contract = registry["order.placed", 1]
    classes = {name: field_class(contract, name) for name in ("order", "note", "email", "anything.else")}
    assert classes == {"order": "internal", "note": "sensitive", "email": "personal", "anything.else": "personal"}
    assert field_purposes(contract, "note") == frozenset(("service",))
    assert field_purposes(contract, "order") == frozenset(("marketing", "service"))
    assert field_purposes(registry["plan.changed", 1], "tier") is None
