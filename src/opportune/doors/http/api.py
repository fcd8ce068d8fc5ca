"""The rest of the HTTP API on Litestar: reading decisions, customers, releases and the ledger; governing them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter, SkipValidation

from opportune.core.drift.cases import OPEN
from opportune.core.ledger import LedgerError
from opportune.core.signals import format_time
from opportune.doors.http.problems import HttpProblem
from opportune.flows.region import Region
from opportune.ports import StoredDecision

Here = NamedDependency[SkipValidation[Region]]
Text = Annotated[str, PathParameter(max_length=256)]
Word = Annotated[str, QueryParameter(max_length=256)]
Maybe = Annotated[str | None, QueryParameter(max_length=256)]
Last = Annotated[int, QueryParameter(ge=1, le=1000)]


class Promotion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who changes the live release, and why; both are kept in the ledger."""

    actor: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_.-]+$")]
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Decisions(Controller):
    """GET /v1/decisions, and the proof of one."""

    path = "/v1/decisions"
    tags = ("decisions",)

    @get(sync_to_thread=True, summary="The newest decisions")
    def listed(
        self, region: Here, last: Last = 50, disposition: Maybe = None, customer: Maybe = None
    ) -> list[dict[str, Any]]:
        """The newest decisions."""
        found = region.records.decisions(last, disposition=disposition, customer=customer)
        return [_line(decision) for decision in found]

    @get(
        "/{decision_id:str}/proof", sync_to_thread=True,
        summary="The inclusion proof of the decision's ledger entry (c2sp.org/tlog-proof@v1)",
    )
    def proof(self, region: Here, decision_id: Text) -> Response[bytes]:
        """The inclusion proof of the decision's ledger entry (c2sp.org/tlog-proof@v1)."""
        one = decision_named(region, decision_id)
        return Response(region.ledger.proof(one.leaf), media_type="text/plain")


class Govern(Controller):
    """Releases."""

    path = "/v1"
    tags = ("govern",)

    @get("/releases", sync_to_thread=True, summary="Every release, which one is live, and what was live when")
    def releases(self, region: Here) -> dict[str, Any]:
        """Every release, which one is live, and what was live when."""
        records = region.records
        return {
            "live": records.live(),
            "releases": [
                {"hash": one.hash, "created_at": format_time(one.created_ms), "note": one.note}
                for one in records.releases()
            ],
            "history": [
                {"at": format_time(at_ms), "release": hash_, "actor": actor, "why": why}
                for at_ms, hash_, actor, why in records.live_history()
            ],
        }

    @post(
        "/releases/{hash_:str}/promote", sync_to_thread=True, status_code=200,
        summary="Makes a stored release the live one",
    )
    def promote(self, region: Here, hash_: Text, data: JSONBody[Promotion]) -> dict[str, Any]:
        """Makes a stored release the live one."""
        try:
            region.promote(hash_, data.actor, data.why)
        except LookupError as error:
            raise HttpProblem(404, "unknown_release", str(error)) from None
        return {"live": hash_}

    @post(
        "/releases/rollback", sync_to_thread=True, status_code=200,
        summary="Makes the release before the live one live again",
    )
    def rollback(self, region: Here, data: JSONBody[Promotion]) -> dict[str, Any]:
        """Makes the release before the live one live again."""
        return {"live": region.rollback(data.actor, data.why)}


class Ledger(Controller):
    """The published log, in C2SP tlog-tiles layout."""

    path = "/v1/ledger"
    tags = ("ledger",)

    @get("/checkpoint", sync_to_thread=True, summary="The newest signed checkpoint")
    def checkpoint(self, region: Here) -> Response[bytes]:
        """The newest signed checkpoint."""
        return Response(region.ledger.checkpoint(), media_type="text/plain")

    @get("/vkey", sync_to_thread=True, summary="The key that checks it")
    def vkey(self, region: Here) -> Response[str]:
        """The key that checks it."""
        return Response(region.ledger.vkey + "\n", media_type="text/plain")

    @get("/tile/{tile:path}", sync_to_thread=True, summary="A tile of hashes, or a bundle of entries")
    def tile(self, region: Here, tile: Text) -> Response[bytes]:
        """A tile of hashes, or a bundle of entries."""
        try:
            content = region.ledger.tile(f"tile{tile}")
        except LedgerError as error:
            raise HttpProblem(404, "unknown_tile", str(error)) from None
        return Response(content, media_type="application/octet-stream")


@get("/healthz", tags=("health",), sync_to_thread=False, summary="The process is up")
def healthz() -> dict[str, str]:
    """The process is up."""
    return {"status": "ok"}

@get(
    "/readyz", tags=("health",), sync_to_thread=True,
    summary="A release is live and questions can be answered",
)
def readyz(region: Here) -> dict[str, Any]:
    """A release is live and questions can be answered; `not_asked` are sources that fail, and are done without."""
    return {"status": "ready", "release": region.releases.live().hash, "not_asked": region.breakers.not_closed()}

@get(
    "/metrics", tags=("health",), sync_to_thread=True, media_type="text/plain; version=0.0.4",
    summary="Prometheus text",
)
def metrics(region: Here) -> str:
    """Prometheus text: counters of the record, and the last minute's decision times."""
    return metrics_text(region)


def metrics_text(region: Region) -> str:
    """Counters and gauges in Prometheus' text format."""
    lines = []
    for name, value in sorted(region.records.counts().items()):
        kind, _, label = name.partition(".")
        labels = f'{{kind="{label}"}}' if label else ""
        lines.append(f"opportune_{kind}{'_by_kind' if label else ''}_total{labels} {value}")
    window = region.pulse.window(region.clock.now_ms())
    lines.append(f"opportune_decisions_per_second {window.rate:.3f}")
    for quantile, micros in (("0.5", window.p50_us), ("0.99", window.p99_us)):
        if micros is not None:
            lines.append(f'opportune_decision_seconds{{quantile="{quantile}"}} {micros / 1e6:.6f}')
    lines += loop_lines(region)
    lines += drift_lines(region)
    return "\n".join(lines) + "\n"


def loop_lines(region: Region) -> list[str]:
    """How full it is, who was turned away, which sources fail, and what was missing from answers."""
    lines = [
        f"opportune_decisions_under_way {region.gate.under_way}",
        f"opportune_decision_places {region.gate.places}",
    ]
    lines += [f'opportune_shed_total{{class="{name}"}} {count}' for name, count in region.gate.shed.items()]
    for one in region.breakers.every():
        lines.append(f'opportune_breaker_open{{source="{one.source}"}} {int(one.phase != "closed")}')
        lines.append(f'opportune_breaker_opened_total{{source="{one.source}"}} {one.opened}')
    lines += [f'opportune_missing_total{{what="{what}"}} {count}' for what, count in region.breakers.missing().items()]
    return lines


def drift_lines(region: Region) -> list[str]:
    """Of each model, what its newest windows found, and the cases that wait."""
    lines, told = [], set()
    for one in region.records.drift("report", 100):
        if (one.model, one.status) not in told:
            told.add((one.model, one.status))
            lines.append(f'opportune_drift_alarms{{model="{one.model}",series="{one.status}"}} {one.alarms}')
    waiting = sum(case.status in OPEN for case in region.drift.cases(1_000))
    return [*lines, f"opportune_drift_cases_open {waiting}"]


def decision_named(region: Region, id_: str) -> StoredDecision:
    """The decision with this id; 404 when there is none."""
    found = region.records.decision(id_)
    if found is None:
        raise HttpProblem(404, "unknown_decision", f"no decision has the id `{id_}`")
    return found


def _line(decision: StoredDecision) -> dict[str, Any]:
    return {
        "id": decision.id,
        "at": format_time(decision.at_ms),
        "customer": decision.customer,
        "account": decision.account,
        "moment": decision.moment,
        "disposition": decision.disposition,
        "offer": decision.offer,
        "channel": decision.channel,
        "release": decision.release,
        "total_us": decision.total_us,
    }
