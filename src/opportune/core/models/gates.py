"""Gates: the conditions of a playbook that a card must meet before it may decide, checked with figures."""

from __future__ import annotations

from collections.abc import Mapping

from opportune.core.models.card import GateResult
from opportune.core.models.trainer import LearnError


def check_gates(gates: Mapping[str, float], metrics: Mapping[str, float]) -> tuple[GateResult, ...]:
    """One result per gate `<metric>_min` or `<metric>_max`; a metric that could not be measured fails its gate.

    Raises LearnError for a gate that ends in neither.
    """
    return tuple(_check(gate, limit, metrics) for gate, limit in gates.items())


def _check(gate: str, limit: float, metrics: Mapping[str, float]) -> GateResult:
    metric, _, side = gate.rpartition("_")
    if side not in ("min", "max"):
        raise LearnError(f"gate `{gate}` must end in _min or _max, such as ece_max: rename it")
    value = metrics.get(metric)
    if value is None:
        known = ", ".join(sorted(name for name in metrics if "." not in name))
        return GateResult(gate, limit, None, False, f"{metric} could not be measured: known here are {known}")
    passed = value >= limit if side == "min" else value <= limit
    word = {("min", True): "at least", ("min", False): "below", ("max", True): "at most", ("max", False): "above"}
    return GateResult(gate, limit, value, passed, f"{metric} is {value:g}, {word[side, passed]} {limit:g}")
