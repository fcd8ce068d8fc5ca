"""Whether a card has passed the gates of a playbook: asked of its own results, against the limits of today."""

from __future__ import annotations

from opportune.core.models import Scorecard
from opportune.core.playbook import ModelSpec


def unmet_gates(card: Scorecard, spec: ModelSpec | None) -> tuple[str, ...]:
    """What stands in a card's way, one sentence per gate; empty when it has passed all.

    What the card says of itself counts only with the figures beside it: a limit that was changed since holds as it is
    now, and a card whose flag contradicts its results has not passed.
    """
    results = {one.gate: one for one in card.training.gates}
    found = [one.message for one in results.values() if not one.passed]
    for gate, limit in ({} if spec is None else spec.gates).items():
        result = results.get(gate)
        if result is None:
            found.append(f"gate {gate} was not measured when it was trained: train it again")
        elif result.passed and not _meets(gate, limit, result.value):
            found.append(f"gate {gate} asks for {limit:g} now, and it was {_figure(result.value)}: train it again")
    if not found and not card.approved:
        found.append("the card says of itself that it has not passed: train it again")
    return tuple(found)


def _meets(gate: str, limit: float, value: float | None) -> bool:
    if value is None or value != value:
        return False
    return value <= limit if gate.endswith("_max") else value >= limit


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:g}"
