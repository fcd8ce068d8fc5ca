"""Contact limits that can never hold anything back, because another one always does so before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opportune.core.catalog import Channel, Limit
from opportune.core.durations import parse_duration_ms
from opportune.core.policies.analysis import Remark


class Cap(NamedTuple):
    """At most so many in any period of so long. What it counts: of whom, in which channels (None: all), of which offers
    and kinds (none: all), each offer for itself or all together."""

    collection: str
    document: str
    path: tuple[str | int, ...]
    name: str
    at_most: int
    per_ms: int
    of: str
    channels: frozenset[str] | None
    offers: frozenset[str]
    kinds: frozenset[str]
    each_offer: bool


def idle_limits(limits: Sequence[Limit], channels: Sequence[Channel]) -> Iterator[Remark]:
    """Each limit that another one makes idle; of two equal ones, the later."""
    caps = [*_of_channels(channels), *_of_app(limits)]
    for place, cap in enumerate(caps):
        for other_place, other in enumerate(caps):
            if other_place == place or not _always_before(other, cap):
                continue
            if other_place > place and _always_before(cap, other):
                continue
            message = f"this limit never holds anything back: `{other.name}` allows no more than {_most(other, cap)} "
            message += f"in the same time. Lower `at_most` below {_most(other, cap)}, or remove it"
            yield Remark(cap.collection, cap.document, cap.path, message, "note")
            break


def _always_before(other: Cap, cap: Cap) -> bool:
    """Whether all that `cap` counts is counted by `other`, which is reached no later.

    Any stretch of `cap.per` is covered by so many stretches of `other.per`, each with at most `other.at_most`.
    """
    return _counts_all_of(other, cap) and _most(other, cap) <= cap.at_most


def _most(other: Cap, cap: Cap) -> int:
    return other.at_most * -(-cap.per_ms // other.per_ms)


def _counts_all_of(other: Cap, cap: Cap) -> bool:
    if other.of != cap.of or (other.each_offer and not cap.each_offer):
        return False
    if other.channels is not None and (cap.channels is None or not cap.channels <= other.channels):
        return False
    narrowed = not other.offers or (bool(cap.offers) and cap.offers <= other.offers)
    return narrowed and (not other.kinds or (bool(cap.kinds) and cap.kinds <= other.kinds))


def _of_channels(channels: Sequence[Channel]) -> Iterator[Cap]:
    nothing = frozenset[str]()
    for channel in channels:
        own = frozenset((channel.channel,))
        for limit in channel.limits:
            where = own if limit.count == "channel" else None
            yield Cap(
                "channels", channel.channel, ("limits", limit.limit), f"{channel.channel}/{limit.limit}",
                limit.at_most, parse_duration_ms(limit.per), limit.of, where, nothing, nothing, limit.count == "offer",
            )  # fmt: skip


def _of_app(limits: Sequence[Limit]) -> Iterator[Cap]:
    for index, limit in enumerate(limits):
        per = limit.cooldown or limit.per
        at_most = 1 if limit.cooldown else limit.at_most
        if per is None or at_most is None:
            continue
        yield Cap(
            "app", "app", ("limits", index), limit.limit, at_most, parse_duration_ms(per), limit.of,
            frozenset(limit.channels) or None, frozenset(limit.offers), frozenset(limit.kinds), limit.count == "offer",
        )  # fmt: skip
