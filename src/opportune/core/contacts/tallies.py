"""Tallies: what everybody together has used of a limit, exact to 1/64 of its period and never too little.

A tally is one small row. Amounts are whole units (contacts, or millionths of money) with the instant from which they
count no more: what is reserved counts until its reservation is over, what was delivered for a whole period after the
end of the 64th of the period it fell into.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

TILES = 64
"""Into so many parts a period is cut."""
HOLD_PARTS = 32
"""A reservation ends at one of so many instants per life of a grant: rounded up, so that few entries are kept."""
SLACK_MS = 5_000
"""What ended is kept so much longer: decisions are not recorded in the order of their times."""

Entry = tuple[int, int]
"""(from when it counts no more, units)"""


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """What was used of one limit, or of one offer's share in it. Entries ascend.

    `used` is their sum: exactly what counts before `until_ms`, when the first of them ends. What ended before
    `since_ms` is forgotten.
    """

    id: str
    per_ms: int
    held: tuple[Entry, ...] = ()
    spent: tuple[Entry, ...] = ()
    used: int = 0
    until_ms: int = 0
    since_ms: int = 0


def hold_end_ms(expires_ms: int, ttl_ms: int) -> int:
    """When a reservation that expires then is over, as a tally counts it: never before."""
    part = max(1, ttl_ms // HOLD_PARTS)
    return -(-expires_ms // part) * part


def used_at(tally: Tally | None, per_ms: int, now_ms: int) -> int:
    """Units that count now, of a limit per `per_ms`."""
    if tally is None:
        return 0
    if tally.per_ms == per_ms and now_ms < tally.until_ms:
        return tally.used
    longer_ms = per_ms - tally.per_ms
    spent = sum(units for gone_ms, units in tally.spent if gone_ms + longer_ms > now_ms)
    return spent + sum(units for gone_ms, units in tally.held if gone_ms > now_ms)


def holding(tally: Tally | None, id_: str, per_ms: int, end_ms: int, units: int, now_ms: int) -> Tally:
    """The tally with a reservation until `end_ms`; a period that was changed holds from now on."""
    if tally is None:
        return _summed(Tally(id_, per_ms), per_ms, ((end_ms, units),), (), now_ms)
    longer_ms = per_ms - tally.per_ms
    spent = tally.spent if not longer_ms else tuple((gone_ms + longer_ms, many) for gone_ms, many in tally.spent)
    return _summed(tally, per_ms, _with(tally.held, end_ms, units), spent, now_ms)


def settled(tally: Tally, end_ms: int, units: int, now_ms: int, delivered_ms: int | None) -> Tally:
    """The tally once a reservation is used (at `delivered_ms`) or given back (None). One that was over before and is
    used after all counts all the same."""
    held, spent = _with(tally.held, end_ms, -units), tally.spent
    if delivered_ms is not None:
        tile_ms = max(1, tally.per_ms // TILES)
        gone_ms = (delivered_ms // tile_ms + 1) * tile_ms + tally.per_ms
        spent = _with(spent, gone_ms, units)
    return _summed(tally, tally.per_ms, held, spent, now_ms)


def _with(entries: Iterable[Entry], gone_ms: int, units: int) -> tuple[Entry, ...]:
    """Entries with so many units more, or less: never fewer than none."""
    found = dict(entries)
    found[gone_ms] = max(0, found.get(gone_ms, 0) + units)
    return tuple(sorted(found.items()))


def _summed(before: Tally, per_ms: int, held: Iterable[Entry], spent: Iterable[Entry], now_ms: int) -> Tally:
    since_ms = max(before.since_ms, now_ms - SLACK_MS)
    held = tuple(entry for entry in held if entry[0] > since_ms and entry[1])
    spent = tuple(entry for entry in spent if entry[0] > since_ms and entry[1])
    ends = [entry[0] for entry in (*held[:1], *spent[:1])]
    used = sum(units for _, units in (*held, *spent))
    return Tally(before.id, per_ms, held, spent, used, min(ends, default=2**62), since_ms)
