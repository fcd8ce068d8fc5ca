"""A reader, the model and the store: fine, slow, hung, failing or talking garbage, in every combination, over HTTP.

The client measures every answer: how late it is after its budget, whether it is valid, and whether it says what was
missing. Run: `python -m benchmarks.faults [--seconds 1.5] [--per-second 30] [--json]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
from collections.abc import Sequence
from itertools import product
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks import load, synthetic
from benchmarks.open_loop import Arrival, Kind, percentile, run
from benchmarks.serving import serve_app
from opportune.core.features import FeatureSpec, FeatureView, ReaderSpec
from opportune.core.playbook import Playbook
from opportune.doors.http.app import build_app
from opportune.doors.http.hot import AsgiApp, Receive, Scope, Send, read_body, respond
from opportune.doors.http.keys import ALL_SCOPES, Keyring
from opportune.flows.guarded import with_model
from opportune.flows.outside import OutsideReads
from opportune.flows.region import Region
from opportune.testing.approving import approve_all
from opportune.testing.faults import MODES, FaultyModel, FaultyReader, FaultyRecords, Mode, Switch
from opportune.wiring import open_region

CUSTOMERS = 500
PORT = 7494
BUDGET_MS = 200
ALLOWED_MS = 20
SLOW_S = 0.5
SOURCES = ("warehouse", "score", "record")
SETTLE_S = 6.0
"""How long sources have, once they are well, until their breakers must be closed again."""


def book() -> Playbook:
    """The synthetic playbook with features that are read from outside."""
    made = synthetic.playbook()
    view = FeatureView(
        view="warehouse", version=1, entity="person", owner="bench", purposes=("marketing",),
        reader=ReaderSpec(kind="sql", path="features.db", table="f", entity="id", time="at"),
        features=(FeatureSpec(id="segment", column="segment", type="string"),),
    )  # fmt: skip
    return msgspec.structs.replace(made, views=(*made.views, view))


def prepare(folder: Path, switches: dict[str, Switch]) -> Region:
    """A region whose sources do as their switches say."""
    region = open_region(folder, "bench", "eu")
    made = book()
    approve_all(region, [card := synthetic.scorecard(made)])
    region.promote(region.release(made, [card]).hash, "bench", "bench")
    drafts = synthetic.history(CUSTOMERS, now_ms=region.clock.now_ms())
    for start in range(0, len(drafts), 500):
        region.ingest.run(drafts[start : start + 500])
    region.start()
    brain = region.releases.brain()
    assert brain.model is not None
    faulty = with_model(brain, FaultyModel(switches["score"], brain.model))
    reader = FaultyReader(switches["warehouse"], {"segment": ("gold", None)})
    region.decide = msgspec.structs.replace(
        region.decide, brain=lambda: faulty, records=FaultyRecords.over(switches["record"], region.records),
        outside=OutsideReads(lambda _: reader, region.breakers, region.clock.tick_us),
    )  # fmt: skip
    return region


def switched(region: Region, switches: dict[str, Switch], behind: AsgiApp) -> AsgiApp:
    """`/switch` takes the mode of each source and answers with the breakers that are not closed."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/switch":
            await behind(scope, receive, send)
            return
        for name, mode in json.loads(await read_body(receive, {})).items():
            switches[name].to(mode)
        await respond(send, 200, json.dumps(region.breakers.not_closed()).encode(), b"application/json")

    return app


def serve(folder: str, ready: Event) -> None:
    switches = {name: Switch(SLOW_S) for name in SOURCES}
    region = prepare(Path(folder), switches)
    app = switched(region, switches, build_app(lambda: region, Keyring({"bench": ALL_SCOPES})))
    serve_app(app, PORT, ready, "critical")


async def switch(modes: dict[str, Mode]) -> list[str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(load.request("/switch", json.dumps(modes).encode()))
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
    found: list[str] = json.loads(await reader.readexactly(length))
    writer.close()
    return found


async def settled(every: Sequence[Kind]) -> float:
    """Heals everything; seconds until no breaker is open and answers are real again."""
    await switch(dict.fromkeys(SOURCES, "fine"))
    began = asyncio.get_running_loop().time()
    while True:
        arrivals = await run(PORT, every, 20, 0.2, seed=1)  # a breaker closes when a call tries
        if all(one.real for one in arrivals) and not await switch({}):
            break
        took_s = asyncio.get_running_loop().time() - began
        assert took_s < SETTLE_S * 4, f"still {await switch({})} after {took_s:.1f} s"
    return asyncio.get_running_loop().time() - began


def judged(one: Arrival, modes: dict[str, Mode]) -> str | None:
    """What is wrong with an answer, or None."""
    said = one.said
    if said is None:
        return f"status {one.status}"
    named = {what.split(".")[0] for what in said.degraded}
    broken = {name for name, mode in modes.items() if mode != "fine"}
    # What was late on this machine was late, whatever its switch says.
    late = {what.split(".")[0] for what in said.degraded if what.endswith(".late")}
    if not named <= broken | late:
        return f"names {sorted(named - broken - late)}, which was fine"
    if said.recorded and said.disposition not in ("shed", "fallback") and broken - named:
        return f"does not name {sorted(broken - named)}"
    if not said.recorded and (said.offer is not None or said.grant is not None):
        return "offers without a record"
    if said.disposition == "fallback" and not named:
        return "a safe default that does not say why"
    return None


async def measured(seconds: float, per_second: float) -> dict[str, Any]:
    bodies = [
        {"customer": {"id": f"c{number}"}, "moment": synthetic.MOMENT, "context": {"used": 3}, "budget_ms": BUDGET_MS}
        for number in range(CUSTOMERS)
    ]
    messages = [load.request("/v1/decisions", msgspec.json.encode(body)) for body in bodies]
    every = [Kind("decision", 1.0, messages)]
    await settled(every)
    rows: list[dict[str, Any]] = []
    for chosen in product(MODES, repeat=len(SOURCES)):
        modes = dict(zip(SOURCES, chosen, strict=True))
        await switch(modes)
        arrivals = await run(PORT, every, per_second, seconds, seed=len(rows))
        wrong = [found for one in arrivals if (found := judged(one, modes)) is not None]
        rows.append(
            {
                **modes, "answers": len(arrivals), "wrong": wrong[:3], "wrong_count": len(wrong),
                "late": sum(one.ms > BUDGET_MS + ALLOWED_MS for one in arrivals),
                "p50_ms": percentile([one.ms for one in arrivals], 0.5),
                "worst_ms": max((one.ms for one in arrivals), default=0.0),
                "decided": sum(one.decided for one in arrivals) / max(1, len(arrivals)),
                "healed_after_s": await settled(every),
            }
        )  # fmt: skip
    return {"rows": rows, **total(rows)}


def total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    answers = sum(row["answers"] for row in rows)
    late = sum(row["late"] for row in rows)
    return {
        "combinations": len(rows), "answers": answers, "late": late, "in_time": 1 - late / max(1, answers),
        "wrong": sum(row["wrong_count"] for row in rows), "worst_ms": max(row["worst_ms"] for row in rows),
        "healed_after_s": max(row["healed_after_s"] for row in rows),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--per-second", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ready = context.Event()
        process = context.Process(target=serve, args=(folder, ready), daemon=True)
        process.start()
        assert ready.wait(120), "the server did not start"
        try:
            found = uvloop.run(measured(options.seconds, options.per_second))
        finally:
            process.terminate()
            process.join(10)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for row in found["rows"]:
        print(
            f"reader {row['warehouse']:<8} model {row['score']:<8} store {row['record']:<8} {row['answers']:>4} answers"
            f"  {row['decided']:7.1%} decided  {row['late']} late  p50 {row['p50_ms']:.0f} ms  worst "
            f"{row['worst_ms']:.0f} ms  healed {row['healed_after_s']:.1f} s  {row['wrong_count']} wrong {row['wrong']}"
        )
    print(
        f"{found['combinations']} combinations, {found['answers']} answers: {found['in_time']:.3%} within "
        f"{BUDGET_MS} + {ALLOWED_MS} ms (worst {found['worst_ms']:.0f} ms), {found['wrong']} wrong; "
        f"all well again within {found['healed_after_s']:.1f} s"
    )


if __name__ == "__main__":
    main()
