"""What can be wrong with the limits of a playbook, found before it is compiled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from opportune.core.catalog import Channel, Limit, Offer
from opportune.core.contacts.limits import COOLDOWN
from opportune.core.durations import parse_duration_ms
from opportune.core.wording import closest, listed, quoted

AT_MOST_MAX = 1_000
"""Of a limit per person or account: so many contacts of one are kept for it."""


class LimitProblem(msgspec.Struct, frozen=True):
    """What is wrong, in which field, and the name that was probably meant."""

    field: tuple[str | int, ...]
    message: str
    nearest: str | None = None


def limit_problems(
    limits: Sequence[Limit], offers: Sequence[Offer], channels: Sequence[Channel]
) -> Iterator[LimitProblem]:
    """Problems of the limits at the top of a playbook, each at its field from `limits` on."""
    known = {
        "channels": ("channel", sorted({one.channel for one in channels})),
        "offers": ("offer", sorted({one.offer for one in offers})),
        "kinds": ("kind of offer", sorted({one.kind for one in offers})),
    }
    seen: set[str] = set()
    for index, limit in enumerate(limits):
        at = ("limits", index)
        if limit.limit in seen:
            yield LimitProblem((*at, "limit"), f"limit {quoted(limit.limit)} is defined twice: rename one")
        elif not limit.limit.strip() or "/" in limit.limit:
            message = f"{quoted(limit.limit)} cannot be a limit's id: it is empty or has a `/`"
            yield LimitProblem((*at, "limit"), message)
        seen.add(limit.limit)
        for field, (noun, names) in known.items():
            for place, name in enumerate(getattr(limit, field)):
                yield from _known((*at, field, place), noun, name, names)
        for found in _amounts(limit):
            yield msgspec.structs.replace(found, field=(*at, *found.field))
        if not _reaches(limit, offers):
            message = f"limit {quoted(limit.limit)} holds nothing back: no offer fits its channels, offers and kinds"
            yield LimitProblem((*at, "limit"), message)


def channel_limit_problems(channel: Channel) -> Iterator[LimitProblem]:
    """Problems of a channel's own limits and cooldown beyond what each field may be."""
    for index, limit in enumerate(channel.limits):
        yield from _kept(("limits", index, "at_most"), limit.at_most)
        if limit.limit == COOLDOWN and channel.cooldown is not None:
            message = f"`{COOLDOWN}` is the id of the limit that the channel's `cooldown` stands for: rename this one"
            yield LimitProblem(("limits", index, "limit"), message)
    if channel.cooldown is not None:
        yield from _duration(("cooldown",), channel.cooldown)


def _amounts(limit: Limit) -> Iterator[LimitProblem]:
    if limit.cooldown is not None:
        for name in ("at_most", "amount", "per"):
            if getattr(limit, name) is not None:
                yield LimitProblem((name,), f"`cooldown` says it all, at most one per period: remove `{name}`")
        yield from _duration(("cooldown",), limit.cooldown)
        return
    if (limit.at_most is None) == (limit.amount is None):
        message = "say how much is allowed: either `at_most` (contacts) or `amount` (money)"
        yield LimitProblem(("limit",) if limit.at_most is None else ("amount",), message)
    if limit.per is None:
        yield LimitProblem(("limit",), "the period is missing: add `per`, such as `per: 7d`")
    else:
        yield from _duration(("per",), limit.per)
    if limit.at_most is not None:
        if limit.at_most < 1:
            yield LimitProblem(("at_most",), f"{quoted(limit.at_most)} is out of range: it must be 1 or more")
        elif limit.of != "everyone":
            yield from _kept(("at_most",), limit.at_most)
    if limit.amount is not None:
        if not 0 < limit.amount < 1e12:
            yield LimitProblem(("amount",), f"{quoted(limit.amount)} is out of range: it must be more than 0")
        if limit.of != "everyone":
            message = f"`amount` is money that everyone spends together: add `of: everyone`, not `of: {limit.of}`"
            yield LimitProblem(("amount",), message)


def _reaches(limit: Limit, offers: Iterable[Offer]) -> bool:
    return any(
        (not limit.offers or one.offer in limit.offers)
        and (not limit.kinds or one.kind in limit.kinds)
        and (not limit.channels or any(channel in limit.channels for channel in one.treatments))
        for one in offers
    )


def _kept(field: tuple[str | int, ...], at_most: int) -> Iterator[LimitProblem]:
    if at_most > AT_MOST_MAX:
        message = f"{quoted(at_most)} is out of range: no more than {AT_MOST_MAX} contacts of one customer are counted"
        yield LimitProblem(field, message)


def _duration(field: tuple[str | int, ...], text: str) -> Iterator[LimitProblem]:
    try:
        parse_duration_ms(text)
    except ValueError as error:
        yield LimitProblem(field, str(error))


def _known(field: tuple[str | int, ...], noun: str, name: str, names: Collection[str]) -> Iterator[LimitProblem]:
    if name in names:
        return
    nearest = closest(name, names)
    message = f"unknown {noun} {quoted(name)}"
    if nearest is None:
        message += f": the playbook has {listed(names)}" if names else ": the playbook has none"
    yield LimitProblem(field, message, nearest)
