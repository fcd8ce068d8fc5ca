"""Scorecards of a small model, a playbook that describes it, and a region over memory or files with its shelf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.files.shelf import FileShelf
from opportune.adapters.memory import MemoryRecords
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.memory.shelf import MemoryShelf
from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.system.vault import FileVault
from opportune.core.catalog import Channel, Moment, Offer, Price, Prior, Risk, Treatment
from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.models import (
    AdditiveHead,
    Calibration,
    CalibrationBin,
    CurvePoint,
    Disparity,
    FairnessRow,
    FeatureTable,
    GateResult,
    OfferHeads,
    ReasonCode,
    Report,
    Scorecard,
    SegmentRow,
    Training,
)
from opportune.core.playbook import App, Holdout, ModelSpec, Playbook, Role
from opportune.core.policies import Policy
from opportune.core.signals import SignalContract
from opportune.flows.region import Region
from opportune.ports import Clock
from opportune.testing.clock import FrozenClock

DAY_MS = 86_400_000
PEOPLE: dict[str, tuple[Role, ...]] = {
    "ada": ("model_owner",), "dana": ("model_approver",), "lee": ("model_approver", "compliance"), "rae": ("reviewer",)
}  # fmt: skip
REPORT = Report(
    segments=(
        SegmentRow("plan", "team", 300, 0.11, 0.12, 0.02, 0.01, 0.05, 0.04, 0.02),
        SegmentRow("plan", "business", 90, 0.2, 0.17, None, None, 0.06, None, None),
    ),
    fairness=(
        FairnessRow("region", "north", 200, 0.61, 0.05, 0.004), FairnessRow("region", "south", 190, 0.44, 0.04, -0.01),
    ),
    disparities=(Disparity("region", "selected", "north", "south", 0.17, 0.07, 0.27),),
    reasons=(ReasonCode("seats", "used", 0.31, "50 and more", "below 5", "they use more than they pay for"),),
    curve=(CurvePoint(0.0, 0.0), CurvePoint(0.5, 0.02), CurvePoint(1.0, 0.015)),
)  # fmt: skip


def playbook(risk: Risk = "low", *, gates: dict[str, float] | None = None, margin: float = 500.0) -> Playbook:
    """One offer, one feature, one model `accept` of this risk; `people` as in PEOPLE."""
    offer = Offer(
        offer="seats", title="Seats", kind="addon", price=Price(amount=10), margin=margin, owner="tests",
        treatments={"in_app": Treatment(headline="More seats")}, prior=Prior(p_accept=0.2, uplift=0.1),
    )  # fmt: skip
    view = FeatureView(
        view="usage", version=1, entity="person", owner="tests", purposes=("marketing",),
        features=(
            FeatureSpec(
                id="used", sources="usage.recorded", value="data.count", aggregate="sum", type="int", default=0
            ),
        ),
    )  # fmt: skip
    spec = ModelSpec(
        model="accept", owner="data", features=("used",), risk=risk,
        gates={"ece_max": 0.08} if gates is None else gates,
    )  # fmt: skip
    contract = SignalContract(
        signal="usage.recorded", owner="tests", schema={"type": "object", "properties": {"count": {"type": "integer"}}}
    )
    return Playbook(
        app=App(
            project="registry", holdout=Holdout(share=0.0, salt="registry"), people=PEOPLE,
            moments=(Moment(moment="limit", title="a limit was met", channels=("in_app",)),),
        ),
        offers=(offer,), channels=(Channel(channel="in_app", title="In the product", kind="pull"),), views=(view,),
        policies=(Policy(id="permit", effect="permit", class_="commercial", reason="open to all", owner="tests"),),
        contracts=(contract,), models=(spec,),
    )  # fmt: skip


def card(number: int = 1, *, ece: float = 0.03, passed: bool = True, model: str = "accept") -> Scorecard:
    """The `number`th card of the model: other bytes, and another name, for every number."""
    table = FeatureTable("used", "numeric", edges=(5.0, 50.0))
    offered = AdditiveHead(-1.0 - number / 16, ((-0.5, 0.0, 0.5, 0.0)[: table.bin_count],))
    flat = AdditiveHead(-3.0, ((0.0,) * table.bin_count,))
    gate = GateResult("ece_max", 0.08, ece, passed, f"ece is {ece:g}, {'at most' if passed else 'above'} 0.08")
    training = Training(
        data_hash=f"{number:032x}", rows=1000, rows_fit=500, rows_calibrate=250, rows_evaluate=250, from_ms=0,
        to_ms=30 * DAY_MS, evaluated_from_ms=20 * DAY_MS, label_window="14d", weight_max=20.0,
        feature_views={"usage": 1}, left_out={}, metrics={"rows": 1000.0, "auc": 0.71, "ece": ece, "qini": 0.012},
        calibration_table=tuple(CalibrationBin(*one) for one in ((120, 0.05, 0.06), (80, 0.2, 0.17), (50, 0.4, 0.42))),
        gates=(gate,), trainer="by hand", report=REPORT,
    )  # fmt: skip
    heads = (OfferHeads("seats", offered, flat, flat, 500, 500, 60, 25),)
    return Scorecard(1, model, "data", "0" * 32, (table,), heads, Calibration(), training, passed)


def spec(risk: Risk = "low") -> ModelSpec:
    return playbook(risk).models[0]


@contextmanager
def region_at(folder: Path, kind: str = "memory", *, clock: Clock | None = None) -> Iterator[Region]:
    """A region with nothing live, over memory or over files."""
    vault = FileVault(folder / "keys")
    records = MemoryRecords() if kind == "memory" else SqliteRecords(folder / "records.db", vault)
    key = load_or_create_key(folder / "keys" / "ledger.key")
    region = Region(
        name="eu", records=records, ledger=PublishedLedger(folder / "ledger", "tests/eu", key, records), vault=vault,
        clock=clock or FrozenClock(step_us=1), pulse=MemoryPulse(),
        shelf=MemoryShelf() if kind == "memory" else FileShelf(folder / "shelf"),
    )  # fmt: skip
    try:
        yield region
    finally:
        region.close()


def move(region: Region, ms: int = 1) -> None:
    """Lets the region's clock go on."""
    clock: Any = region.clock
    clock.at_ms += ms


def approved(region: Region, one: Scorecard, risk: Risk = "low") -> str:
    """The card, proposed by ada and approved by as many as it takes; its hash."""
    name = region.registry.propose(one, "ada", spec(risk)).card
    move(region)
    for person in ("dana", "lee")[: 2 if risk == "high" else 1]:
        region.registry.approve(name, person, PEOPLE, "it holds on later rows")
        move(region)
    return name


def altered(manifest: bytes) -> bytes:
    """A manifest with one figure of its model changed."""
    found = msgspec.json.decode(manifest)
    found["cards"][0]["calibration"]["slope"] = 9.0
    return msgspec.json.encode(found)
