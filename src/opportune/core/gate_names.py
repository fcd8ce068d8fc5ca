"""The figures that gates may ask of a model, by what it learns; without what works them out, which is heavy to load."""

from __future__ import annotations

_EVERY = ("rows",)
_CHANCES = ("auc", "log_loss", "ece", "bought_share")
_EFFECTS = (
    "qini", "auuc", "auuc_random", "gain_logged", "gain_policy", "rows_policy", "uplift_slope", "uplift_slope_se",
)  # fmt: skip
_AMOUNTS = ("amount_mean", "amount_predicted", "amount_ratio", "mae", "mae_of_mean")
_FAIRNESS = tuple(
    f"fairness_{measure}{end}" for measure in ("selected", "uplift", "calibration") for end in ("", "_low")
)


def metrics_of(target: str) -> tuple[str, ...]:
    """The measures that a card of this target may have; some cannot be measured on every log."""
    if target == "value":
        return (*_EVERY, *_AMOUNTS, *_FAIRNESS)
    return (*_EVERY, *_CHANCES, *(_EFFECTS if target == "uplift" else ()), *_FAIRNESS)


def gate_problem(gate: str, target: str) -> str | None:
    """What is wrong with a gate's name, in words; None when it is right. Figures of one offer have its name behind a
    dot, such as `rows_offered.seats_10_min`."""
    metric, _, side = gate.rpartition("_")
    if side not in ("min", "max"):
        return f"gate `{gate}` must end in _min or _max, such as ece_max"
    if "." in metric or metric in metrics_of(target):
        return None
    return f"gate `{gate}` asks for `{metric}`, which a model of {target} does not have"
