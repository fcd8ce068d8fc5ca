"""Signals kept out, as data: the list with its counts, and one entry with what is wrong beside what was sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import msgspec

from opportune.core.masking import HIDDEN, masked
from opportune.core.releases import Release
from opportune.core.signals import FieldClass, Problem
from opportune.ports import Quarantined, Records
from opportune.views.classes import classes_of, shown_fields

Status = Literal["open", "resubmitted", "discarded"]
STATUSES: tuple[Status, ...] = ("open", "resubmitted", "discarded")
READ_MAX = 1_000
OPEN_COUNTED_MAX = 100
ENVELOPE = ("source", "id", "subject", "account")


class Asked(msgspec.Struct, frozen=True):
    """How a list is narrowed; None leaves a field open, `reason` is a problem's code."""

    status: Status | None = "open"
    source: str | None = None
    type: str | None = None
    reason: str | None = None


class QuarantineLine(msgspec.Struct, frozen=True):
    """One entry of the list; the messages as this reader sees them."""

    seq: int
    received_ms: int
    source: str
    id: str
    type: str
    status: Status
    note: str
    problems: tuple[Problem, ...]


class QuarantineView(msgspec.Struct, frozen=True):
    """The newest entries that match, and how often each source, type and reason occurs among all of this status.

    `before` asks for the older ones; `cut_off`: the counts are of the newest `read` entries only.
    """

    asked: Asked
    rows: tuple[QuarantineLine, ...]
    before: int | None
    sources: tuple[tuple[str, int], ...]
    types: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, int], ...]
    read: int
    matching: int
    cut_off: bool


class QuarantineEntry(msgspec.Struct, frozen=True):
    """One entry whole. `draft` is what was sent as this reader sees it, None when it was not kept whole; `hidden`
    are the fields of which something is kept back, `wrong` the problems by field."""

    line: QuarantineLine
    customer: str | None
    draft: Mapping[str, Any] | None
    hidden: tuple[str, ...]
    wrong: Mapping[str, tuple[Problem, ...]]
    bytes: int
    known_type: bool


def quarantine_view(
    records: Records,
    release: Release | None,
    asked: Asked,
    clear: Collection[FieldClass],
    *,
    last: int = 50,
    before: int | None = None,
) -> QuarantineView:
    """The newest `last` entries with these marks that have a number below `before`."""
    read = records.quarantined(READ_MAX, status=asked.status)
    sources, types, reasons = Counter[str](), Counter[str](), Counter[str]()
    for one in read:
        sources[one.source] += 1
        types[one.type] += 1
        reasons.update({problem.code for problem in one.problems})
    below = read if before is None else records.quarantined(READ_MAX, status=asked.status, before=before)
    found = [one for one in below if _matches(one, asked)]
    rows = tuple(entry_view(one, release, clear).line for one in found[:last])
    return QuarantineView(
        asked,
        rows,
        rows[-1].seq if len(found) > last else None,
        _most(sources),
        _most(types),
        _most(reasons),
        len(read),
        sum(_matches(one, asked) for one in read),
        len(read) >= READ_MAX,
    )


def entry_view(kept: Quarantined, release: Release | None, clear: Collection[FieldClass]) -> QuarantineEntry:
    """One entry for a reader who sees `clear`; without a release every field counts as personal."""
    draft = _draft(kept.body)
    shown: dict[str, Any] | None = None
    hidden: list[str] = []
    if draft is not None:
        shown, hidden = _masked(draft, release, clear)
    secrets = set() if draft is None or not hidden else set(_secrets(draft, shown))
    problems = tuple(msgspec.structs.replace(one, message=_kept_back(one.message, secrets)) for one in kept.problems)
    wrong: dict[str, tuple[Problem, ...]] = {}
    for problem in problems:
        wrong[problem.field] = (*wrong.get(problem.field, ()), problem)
    id_, source = (str(masked(text, "personal", clear)) if "@" in text else text for text in (kept.id, kept.source))
    line = QuarantineLine(kept.seq, kept.received_ms, source, id_, kept.type, kept.status, kept.note, problems)
    known = release is not None and any(name == kept.type for name, _ in release.contracts)
    return QuarantineEntry(line, kept.customer, shown, tuple(hidden), wrong, len(kept.body), known)


def open_count(records: Records) -> int:
    """How many entries are open, counted up to OPEN_COUNTED_MAX."""
    return len(records.quarantined(OPEN_COUNTED_MAX, status="open"))


def _most(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _matches(one: Quarantined, asked: Asked) -> bool:
    return (
        asked.source in (None, one.source)
        and asked.type in (None, one.type)
        and (asked.reason is None or any(problem.code == asked.reason for problem in one.problems))
    )


def _draft(body: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _masked(
    draft: Mapping[str, Any], release: Release | None, clear: Collection[FieldClass]
) -> tuple[dict[str, Any], list[str]]:
    shown = dict(draft)
    hidden = []
    for name in ENVELOPE:
        value = draft.get(name)
        if isinstance(value, str) and "@" in value:
            shown[name] = masked(value, "personal", clear)
            hidden += [name] if shown[name] != value else []
    data = draft.get("data")
    if isinstance(data, Mapping):
        type_, version = draft.get("type"), draft.get("version")
        class_of = classes_of(release, str(type_), version if isinstance(version, int) else None) if release else None
        seen, names = shown_fields(data, class_of or (lambda _: "personal"), clear)
        shown["data"] = seen
        hidden += [f"data.{name}" for name in names]
    elif data is not None:
        shown["data"] = masked(data, "personal", clear)
        hidden += ["data"] if shown["data"] != data else []
    return shown, hidden


def _secrets(whole: object, seen: object) -> Iterator[str]:
    """The texts of all values that are kept back."""
    if isinstance(whole, Mapping) and isinstance(seen, Mapping):
        for name, value in whole.items():
            yield from _secrets(value, seen.get(name))
    elif isinstance(whole, list) and isinstance(seen, list):
        for value, other in zip(whole, seen, strict=False):
            yield from _secrets(value, other)
    elif whole != seen and whole is not None:
        yield whole if isinstance(whole, str) else msgspec.json.encode(whole).decode()


def _kept_back(message: str, secrets: Collection[str]) -> str:
    """A message without the values it quotes that this reader may not see."""
    for text in secrets:
        # A quoted value may have been cut: what begins like it goes too.
        for quoted in (f"`{text}`", f"'{text}'", f'"{text}"', f"`{text[:40]}`"):
            message = message.replace(quoted, f"`{HIDDEN}`")
    return message
