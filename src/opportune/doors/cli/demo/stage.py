"""The stages of a demonstration in order: history, model, live, figures."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

import msgspec
import uvloop

from opportune.core.decisions.questions import Question, Who
from opportune.core.playbook import Playbook
from opportune.doors.cli.demo.crowd import Crowd
from opportune.doors.cli.demo.wire import Wire
from opportune.doors.cli.live import actor, release_of
from opportune.doors.cli.output import note, progress
from opportune.doors.cli.server import Server
from opportune.doors.cli.workbench import Place, World
from opportune.doors.http.cloudevents import draft_of
from opportune.flows.region import Region

BATCH = 1_000
HISTORY_ABOUT = 52_000
"""Signals of the world: known exactly only when it has been lived through."""

TRAINING_NICENESS = 10
TRAINING_WAIT_MAX_S = 180.0
STATUS_EVERY_S = 0.5
PLAIN_STATUS_EVERY_S = 5.0
TRIED_MAX = 400
AUTHOR, APPROVER = "ada", "dana"
"""People of the sample playbook: one answers for its models, the other may approve them."""


def first_release(region: Region, playbook: Playbook) -> None:
    """Goes live on the owners' priors: the model comes when there is something to learn from."""
    made = region.release(playbook, note="the demonstration's first release, on the owners' priors")
    region.promote(made.hash, actor(), "begin")


def load_history(region: Region, world: World, stop: Event, *, quiet: bool) -> tuple[dict[str, int], list[str]]:
    """The world's past through the ingest flow: how many of which fate, and the customers heard of last."""
    fates: Counter[str] = Counter()
    heard: dict[str, None] = {}
    with progress("loading the history", HISTORY_ABOUT, quiet=quiet) as advance:
        for batch in _batches(world.history()):
            fates.update(receipt.status for receipt in region.ingest.run([draft_of(event) for event in batch]))
            advance(len(batch))
            heard.update(dict.fromkeys(event["subject"] for event in batch if "subject" in event))
            if stop.is_set():
                break
    return dict(fates), list(heard)[::-1][:TRIED_MAX]


def train_apart(place: Place, model: str, stop: Event) -> dict[str, Any]:
    """Trains in a process of its own, so that it never sits on the decision loop; the card's figures."""
    asked = ["train", model, "--playbook", str(place.folder), "--by", AUTHOR, "--json"]
    command = [sys.executable, "-m", "opportune.main", *asked]
    since = perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own command line
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, process.pid, TRAINING_NICENESS)
        while True:
            try:
                out, _ = process.communicate(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                if stop.is_set() or perf_counter() - since > TRAINING_WAIT_MAX_S:
                    process.terminate()
    try:
        found: dict[str, Any] = msgspec.json.decode(out)
    except msgspec.DecodeError:
        found = {"error": "training gave no answer"}
    found["seconds"] = round(perf_counter() - since, 1)
    return found



def approve_trained(region: Region, playbook: Playbook) -> list[str]:
    """What a person would do at the Models page: approves what was trained and passed its gates; the names."""
    registry = region.registry
    registry.take_in()
    waiting = registry.waiting_for_people(playbook)
    for one in waiting:
        registry.approve(one.card, APPROVER, playbook.app.people, "demonstration: it passed every gate on later rows")
    return [f"{one.model}@{one.card[:12]}" for one in waiting]


def model_release(region: Region, playbook: Playbook) -> bool:
    """Releases and promotes the playbook with what was trained and approved; False when nothing was."""
    made, cards = release_of(region, playbook, "with the trained model")
    if cards:
        region.promote(made, actor(), "the model was approved")
    return bool(cards)


def example(region: Region, customers: Sequence[str]) -> dict[str, Any] | None:
    """A question for people to copy, one that leads to an offer if there is any; None without customers."""
    found = None
    brain = region.releases.brain()
    for customer in customers:
        for moment in brain.moments.values():
            if moment.context and set(moment.context.values()) != {"string"}:
                continue
            context = dict.fromkeys(moment.context, "pricing")
            found = {"customer": {"id": customer}, "moment": moment.moment, "context": context}
            question = Question(Who(id=customer), moment.moment, context=context)
            if region.decide.preview(question).disposition == "offered":
                return found
    return found


def live(
    server: Server, world: World, key: str, rate: float, until_s: float | None, stop: Event, *, quiet: bool
) -> Crowd:
    """Customers at work until the end, with a line that says how it goes."""

    async def work() -> Crowd:
        crowd = Crowd(world, Wire(server.host, server.port, key), rate, stop.is_set)
        watching = asyncio.create_task(_watch(server.region, crowd, quiet))
        try:
            await crowd.run(until_s)
        finally:
            watching.cancel()
        return crowd

    return uvloop.run(work())


def stopping() -> Event:
    """Set by SIGINT or SIGTERM; a second one ends at once."""
    stop = Event()

    def handle(*_: object) -> None:
        if stop.is_set():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, handle)
    return stop


def program() -> str:
    """How this program is called from here."""
    from shutil import which

    called = Path(sys.argv[0])
    if called.name != "opportune" or which("opportune") is not None:
        return "opportune"
    near = os.path.relpath(called)
    return near if len(near) < len(str(called)) else str(called)


async def _watch(region: Region, crowd: Crowd, quiet: bool) -> None:
    """The status line: in place on a terminal, now and then elsewhere, never when nobody asked."""
    if quiet:
        return
    if not sys.stderr.isatty():
        while True:
            await asyncio.sleep(PLAIN_STATUS_EVERY_S)
            note(_status(region, crowd))
    from rich.live import Live
    from rich.text import Text

    from opportune.doors.cli.output import console

    with Live(Text(""), console=console(err=True), auto_refresh=False, transient=True) as line:
        while True:
            line.update(Text(f"  live    {_status(region, crowd)}"), refresh=True)
            await asyncio.sleep(STATUS_EVERY_S)


def _status(region: Region, crowd: Crowd) -> str:
    window = region.pulse.window(region.clock.now_ms(), 5)
    p50, p99 = crowd.percentiles_ms(500)
    took = "" if p50 is None or p99 is None else f" · p50 {p50:.1f} ms p99 {p99:.1f} ms"
    wrong = f" · {crowd.errors} errors" if crowd.errors else ""
    return (
        f"{window.rate:.0f} decisions/s{took} · {sum(crowd.dispositions.values()):,} decided, "
        f"{crowd.dispositions['offered']:,} offered, {crowd.outcomes['accepted']:,} accepted{wrong}"
    )


def _batches(events: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch

