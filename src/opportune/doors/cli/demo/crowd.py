"""The simulated customers: they send signals, meet moments, get decisions and answer them, all over HTTP."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from math import exp
from time import perf_counter, time_ns
from typing import Any

from opportune.doors.cli.demo.wire import Wire, WireError
from opportune.doors.cli.workbench import World

MOMENT_SHARE = 0.3
"""Of the world's steps: the others are signals."""

SIGNALS_AT_ONCE = 40
SIGNALS_WAIT_MAX_S = 0.1
OUTCOMES_AT_ONCE = 100
OUTCOMES_EVERY_S = 0.1
AFTER_MAX_S = 6.0
AFTER_SCALE_MS = 30_000.0
ERRORS_KEPT_MAX = 5


class Crowd:
    """Drives one server; the counters may be read at any time."""

    def __init__(self, world: World, wire: Wire, rate: float, stop: Callable[[], bool]) -> None:
        self._world, self._wire, self._rate, self._stop = world, wire, rate, stop
        self._signals: list[dict[str, Any]] = []
        self._flushed_s = 0.0
        self._due: list[tuple[float, int, dict[str, Any]]] = []
        self._number = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self.signals: Counter[str] = Counter()
        self.dispositions: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        self.errors = 0
        self.messages: list[str] = []

    async def run(self, until_s: float | None) -> None:
        """Lives until `until_s` (on perf_counter; None: until told to stop), then lets everybody finish."""
        posting = asyncio.create_task(self._post_outcomes())
        for step in self._world.live(_now_ms(), self._rate / MOMENT_SHARE):
            await self._sleep_to(step["at_ms"], until_s)
            if self._over(until_s):
                break
            if step["kind"] == "signal":
                self._signals.append(step["event"])
                await self._flush(full=SIGNALS_AT_ONCE)
                continue
            await self._flush(full=1)
            task = asyncio.create_task(self._decide(step))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await self._flush(full=1)
        if self._under_way:
            await asyncio.wait(self._under_way)
        posting.cancel()
        await self._post_due(float("inf"))
        self._wire.close()

    def percentiles_ms(self, newest: int | None = None) -> tuple[float | None, float | None]:
        """(p50, p99) of the decisions as the client saw them."""
        found = sorted(self.latencies_ms if newest is None else self.latencies_ms[-newest:])
        if not found:
            return None, None
        return found[len(found) // 2], found[min(len(found) - 1, int(len(found) * 0.99))]

    def _over(self, until_s: float | None) -> bool:
        return self._stop() or (until_s is not None and perf_counter() >= until_s)

    async def _sleep_to(self, at_ms: int, until_s: float | None) -> None:
        """Wakes often enough to notice the end."""
        while (wait_s := (at_ms - _now_ms()) / 1000) > 0 and not self._over(until_s):
            await asyncio.sleep(min(wait_s, 0.2))

    async def _flush(self, full: int) -> None:
        """Sends the signals that wait, when there are `full` of them or they wait too long."""
        waited = perf_counter() - self._flushed_s > SIGNALS_WAIT_MAX_S
        if not self._signals or (len(self._signals) < full and not waited):
            return
        batch, self._signals, self._flushed_s = self._signals, [], perf_counter()
        answer = await self._post("/v1/signals", batch)
        if answer is not None:
            for fate in ("accepted", "duplicate", "quarantined"):
                self.signals[fate] += answer[fate]

    async def _decide(self, step: dict[str, Any]) -> None:
        question = {
            "customer": {"id": step["customer"]}, "moment": step["moment"], "channels": step["channels"],
            "context": step["context"],
        }  # fmt: skip
        since_s = perf_counter()
        answer = await self._post("/v1/decisions", question)
        if answer is None:
            return
        self.latencies_ms.append((perf_counter() - since_s) * 1000)
        self.dispositions[answer["disposition"]] += 1
        offer = answer.get("offer")
        shown = None
        if answer["disposition"] == "offered" and offer is not None:
            shown = {"disposition": "offered", "offer": offer["id"], "channel": answer["channel"]}
        for outcome in self._world.respond(step["customer"], shown, _now_ms()):
            self._later(outcome, step["customer"], answer["decision_id"])

    def _later(self, outcome: dict[str, Any], customer: str, decision: str) -> None:
        """Days become seconds, in the same order: `AFTER_MAX_S` is never reached."""
        after_s = AFTER_MAX_S * (1 - exp(-outcome["after_ms"] / AFTER_SCALE_MS))
        post: dict[str, Any] = {"kind": outcome["kind"], "amount": outcome["amount"] or 0.0}
        post |= {"customer": customer, "offer": outcome["offer"]} if outcome["organic"] else {"decision": decision}
        self._number += 1
        heapq.heappush(self._due, (perf_counter() + after_s, self._number, post))

    async def _post_outcomes(self) -> None:
        while True:
            await asyncio.sleep(OUTCOMES_EVERY_S)
            await self._post_due(perf_counter())

    async def _post_due(self, now_s: float) -> None:
        for batch in _due_batches(self._due, now_s):
            answer = await self._post("/v1/outcomes", batch)
            if answer is not None:
                self.outcomes.update(one["kind"] for one in answer["outcomes"] if one["status"] == "accepted")

    async def _post(self, path: str, body: object) -> Any:  # noqa: ANN401
        try:
            status, answer = await self._wire.post(path, body)
        except (OSError, WireError, TimeoutError) as error:
            self._failed(f"{path}: {error or type(error).__name__}")
            return None
        if status != 200:
            detail = answer.get("detail") if isinstance(answer, dict) else answer
            self._failed(f"{path}: {status} {detail}")
            return None
        return answer

    def _failed(self, message: str) -> None:
        self.errors += 1
        if len(self.messages) < ERRORS_KEPT_MAX:
            self.messages.append(message)


def _due_batches(due: list[tuple[float, int, dict[str, Any]]], now_s: float) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    while due and due[0][0] <= now_s:
        batch.append(heapq.heappop(due)[2])
        if len(batch) == OUTCOMES_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _now_ms() -> int:
    return time_ns() // 1_000_000
