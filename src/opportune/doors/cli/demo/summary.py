"""What a demonstration came to, as figures: JSON for programs, lines for people."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from pathlib import Path
from typing import Any

import msgspec

from opportune.core.ledger import LedgerError
from opportune.doors.cli.demo.crowd import Crowd
from opportune.flows.region import Region
from opportune.verifier import verify_log

UNITS_MIN = 10
BUYERS_MIN = 5
REPLAYED = 300
Z_975 = 1.959963984540054


class Incremental(msgspec.Struct, frozen=True):
    """Revenue per unit (account) with offers less that in the hold-out, as an intention to treat.

    `total` is for all units with offers. `low` and `high` bound `per_unit` at 95 % (Welch); they and `total` are
    None, and `note` says why, when a side has too few units.
    """

    currency: str
    units_offered: int
    units_holdout: int
    mean_offered: float
    mean_holdout: float
    per_unit: float | None
    low: float | None
    high: float | None
    total: float | None
    total_low: float | None
    total_high: float | None
    note: str


def incremental(rows: Iterable[tuple[str, bool, float]], currency: str) -> Incremental:
    """Welch's interval for two groups of unequal variance (Welch 1947) over units."""
    groups: dict[bool, list[float]] = {False: [], True: []}
    for _, held, revenue in rows:
        groups[held].append(revenue)
    offered, held_out = groups[False], groups[True]
    means = _mean(offered), _mean(held_out)
    if min(len(offered), len(held_out)) < UNITS_MIN:
        why = f"too few units for an interval: it takes {UNITS_MIN} on each side"
        sides = len(offered), len(held_out), *means
        return Incremental(currency, *sides, None, None, None, None, None, None, why)
    one, other = _variance(offered) / len(offered), _variance(held_out) / len(held_out)
    difference, error = means[0] - means[1], sqrt(one + other)
    reach = error * t_975(_freedom(one, len(offered), other, len(held_out)))
    low, high = difference - reach, difference + reach
    count = len(offered)
    note = "above zero" if low > 0 else "below zero" if high < 0 else "the interval includes zero: not shown yet"
    if (buyers := sum(revenue > 0 for revenue in held_out)) < BUYERS_MIN:
        note += f"; held-out accounts that bought so far: {buyers}, so the interval is narrower than it should be"
    return Incremental(
        currency, count, len(held_out), round(means[0], 2), round(means[1], 2), round(difference, 2), round(low, 2),
        round(high, 2), round(difference * count, 2), round(low * count, 2), round(high * count, 2), note,
    )  # fmt: skip


def t_975(freedom: float) -> float:
    """The 97.5 % point of Student's t; Cornish-Fisher expansion, Abramowitz & Stegun 26.7.5."""
    z, v = Z_975, max(freedom, 1.0)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum(term / v**power for power, term in enumerate(terms, 1))


def checked(region: Region, ledger: Path, last: int = REPLAYED) -> dict[str, Any]:
    """Publishes the rest, lets the independent verifier read the files, and replays the newest decisions."""
    try:
        region.ledger.publish()
    except LedgerError as error:
        return {"ledger": {"size": 0, "verified": False, "finding": str(error)}, "replay": {"same": 0, "of": 0}}
    report = verify_log(ledger, region.ledger.vkey)
    ids = [one.id for one in region.records.decisions(last)]
    same = sum(region.replay(id_).same for id_ in ids)
    return {
        "ledger": {
            "size": report.size, "recorded": region.records.leaf_count(), "verified": report.ok,
            "root": report.root, "finding": None if report.ok else str(report.first),
        },
        "replay": {"same": same, "of": len(ids)},
    }  # fmt: skip


def summary_of(region: Region, crowd: Crowd, history: dict[str, int], live_since_ms: int) -> dict[str, Any]:
    """The figures of a run but for its ledger, model and times."""
    counts = region.records.counts()
    kinds = {name.partition(".")[2]: value for name, value in counts.items() if name.startswith("outcomes.")}
    mix = {name.partition(".")[2]: value for name, value in counts.items() if name.startswith("decisions.")}
    seconds = max(1, (region.clock.now_ms() - live_since_ms) // 1000 + 1)
    window = region.pulse.window(region.clock.now_ms(), seconds)
    p50, p99 = crowd.percentiles_ms()
    brain = region.releases.brain()
    return {
        "signals": {
            "history": history.get("accepted", 0), "live": crowd.signals["accepted"],
            "quarantined": counts.get("quarantined", 0),
            "duplicate": history.get("duplicate", 0) + crowd.signals["duplicate"],
        },
        "decisions": {"total": counts.get("decisions", 0), **dict(sorted(mix.items()))},
        "outcomes": dict(sorted(kinds.items())),
        "offers_accepted": kinds.get("accepted", 0),
        "incremental_revenue": incremental(region.records.revenue_by_unit(live_since_ms), brain.app.currency),
        "decision_ms": {
            "client": {"p50": _rounded(p50), "p99": _rounded(p99), "count": len(crowd.latencies_ms)},
            "server": {"p50": _ms(window.p50_us), "p99": _ms(window.p99_us), "count": window.count},
            "per_second": round(len(crowd.latencies_ms) / seconds, 1),
        },
        "release": brain.release,
        "errors": crowd.errors,
        "error_messages": crowd.messages,
    }  # fmt: skip


def lines_of(found: dict[str, Any]) -> list[str]:
    """The summary for people."""
    signals, decisions, took = found["signals"], dict(found["decisions"]), found["decision_ms"]
    total = decisions.pop("total")
    client, server = took["client"], took["server"]
    ledger, replay = found["ledger"], found["replay"]
    mix = ", ".join(f"{count:,} {name}" for name, count in decisions.items())
    happened = ", ".join(f"{count:,} {kind}" for kind, count in found["outcomes"].items())
    verdict = "verifies" if ledger["verified"] else f"DOES NOT VERIFY: {ledger['finding']}"
    return [
        f"signals    {signals['history']:,} of history, {signals['live']:,} live, "
        f"{signals['quarantined']:,} kept out",
        f"decisions  {total:,}: {mix}",
        f"outcomes   {happened or 'none'}",
        f"revenue    {_revenue(found['incremental_revenue'])}",
        f"time       p50 {client['p50']} ms, p99 {client['p99']} ms over HTTP; "
        f"p50 {server['p50']} ms, p99 {server['p99']} ms in the server",
        f"ledger     {ledger['size']:,} entries, {verdict}; replayed {replay['same']} of {replay['of']} the same",
        f"errors     {found['errors']}" + "".join(f"; {message}" for message in found["error_messages"]),
    ]


def _revenue(found: Incremental) -> str:
    sides = f"{found.units_offered:,} accounts with offers against {found.units_holdout:,} held out"
    if found.per_unit is None:
        return f"{sides}: {found.note}"
    return (
        f"{found.per_unit:+,.2f} {found.currency} an account (95 %: {found.low:+,.2f} to {found.high:+,.2f}), "
        f"{found.total:+,.0f} in all; {sides}; {found.note}"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _variance(values: list[float]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _freedom(one: float, count: int, other: float, other_count: int) -> float:
    """Welch-Satterthwaite, from the squared standard errors of both means."""
    below = one**2 / (count - 1) + other**2 / (other_count - 1)
    return (one + other) ** 2 / below if below > 0 else float(count + other_count - 2)


def _ms(micros: int | None) -> float | None:
    return None if micros is None else round(micros / 1000, 2)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
