"""Signed webhooks: a delivery to `/v1/hooks/<source>` is verified, then its messages are calls like any other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from opportune.core.payloads import Call, CompiledPayloads, hook_sender
from opportune.core.playbook import Hook, Source
from opportune.core.signals import Draft, Problem, format_time
from opportune.core.webhooks import (
    TOLERANCE_MS,
    Delivery,
    SignatureError,
    check_hubspot,
    check_hubspot_v2,
    check_segment,
    check_standard,
    check_stripe,
)
from opportune.doors.http.problems import HttpProblem
from opportune.doors.http.vendors.parts import calls_in, decoded, made_id, part, text_id
from opportune.doors.http.vendors.segment import segment_calls

HOOKS = "/v1/hooks/"
REPLAYS_MAX = 100_000
_STATUS = {"missing": 401, "malformed": 400, "stale": 401, "forged": 401}


class Window:
    """The deliveries of the last few minutes: exactly the same one again is a replay, and not looked at."""

    def __init__(self, kept_ms: int = 2 * TOLERANCE_MS) -> None:
        self._kept_ms = kept_ms
        self._taken: OrderedDict[bytes, int] = OrderedDict()

    def replayed(self, name: bytes, now_ms: int) -> bool:
        while self._taken and (
            len(self._taken) > REPLAYS_MAX or next(iter(self._taken.values())) < now_ms - self._kept_ms
        ):
            self._taken.popitem(last=False)
        return name in self._taken

    def took(self, name: bytes, now_ms: int) -> None:
        self._taken[name] = now_ms


def hook_source(path: str, sources: Sequence[Source]) -> tuple[Source, Hook]:
    """The source a path names; HttpProblem 404 when the playbook has no such hook."""
    name = path.removeprefix(HOOKS)
    found = next((one for one in sources if one.source == name), None)
    if found is None or found.hook is None:
        detail = "no source of this name takes webhooks: give it a `hook` in sources/ of the playbook"
        raise HttpProblem(404, "unknown_hook", detail)
    return found, found.hook


def verified(
    source: Source,
    hook: Hook,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    now_ms: int,
    uri: str,
) -> Delivery:
    """The delivery when its signature holds; HttpProblem 400 or 401 when it does not, 503 without a secret."""
    if not secrets:
        detail = f"no secret for this source: put it into `secrets/{source.source}` of the data folder, mode 0600"
        raise HttpProblem(503, "no_secret", detail)
    try:
        if hook.signed_by == "hubspot":
            return check_hubspot(headers, body, secrets, now_ms, hook.url or uri)
        if hook.signed_by == "hubspot_v2":
            return check_hubspot_v2(headers, body, secrets, now_ms, hook.url or uri)
        check = {"stripe": check_stripe, "segment": check_segment, "standard": check_standard}[hook.signed_by]
        return check(headers, body, secrets, now_ms)
    except SignatureError as error:
        raise HttpProblem(_STATUS[error.code], f"signature_{error.code}", str(error)) from None


def delivery_name(source: Source, delivery: Delivery, body: bytes) -> bytes:
    """What makes a delivery the same one: source, time of signing and bytes."""
    digest = blake2b(f"{source.source}\0{delivery.signed_ms}\0{delivery.id or ''}\0".encode(), digest_size=16)
    digest.update(body)
    return digest.digest()


def hook_calls(
    source: Source, hook: Hook, delivery: Delivery, body: bytes, payloads: CompiledPayloads, received_ms: int
) -> list[Call]:
    """The messages of a delivery; one nobody maps is for quarantine, with what to add. HttpProblem 400."""
    value = decoded(body)
    if hook.signed_by == "segment":
        kind = part(value).get("type", "track")
        return segment_calls(f"/v1/{kind}" if isinstance(kind, str) else "/v1/track", value, received_ms)
    messages = calls_in(value, "a delivery") if isinstance(value, list) else [value]
    read = _READERS.get(hook.signed_by, _standard)
    return [_call(source, one, read, delivery, payloads, received_ms, place) for place, one in enumerate(messages)]


Reader = Callable[[dict[str, Any], Delivery], tuple[object, object, object]]
"""(name of the event, its id, its time) of a message."""


def _call(
    source: Source,
    message: object,
    read: Reader,
    delivery: Delivery,
    payloads: CompiledPayloads,
    received_ms: int,
    place: int,
) -> Call:
    sender = hook_sender(source.source)
    if not isinstance(message, dict):
        return Call(sender, "", Draft(source=source.source, id=None, type=None, data=message))
    name, id_, time = read(message, delivery)
    known = isinstance(name, str) and (sender, name) in payloads
    problems: tuple[Problem, ...] = ()
    if not known:
        shown = name if isinstance(name, str) else "nothing"
        told = f"nothing maps the event `{shown[:80]}`: add it to `payloads` of source `{source.source}`"
        problems = (Problem("unmapped", "event", told),)
    draft = Draft(
        source=source.source,
        id=text_id(id_) or made_id(message, place, received_ms, True),
        type=name,
        time=time,
        data=message,
        problems=problems,
    )
    return Call(sender, name if isinstance(name, str) else "", draft, message, part(message.get("properties")))


def _stripe(message: dict[str, Any], _: Delivery) -> tuple[object, object, object]:
    created = message.get("created")
    return message.get("type"), message.get("id"), _time(created, 1000)


def _hubspot(message: dict[str, Any], _: Delivery) -> tuple[object, object, object]:
    # `eventId` alone is not unique (HubSpot says so); retries differ in `attemptNumber` only.
    parts = (message.get(key) for key in ("eventId", "subscriptionId", "objectId", "occurredAt"))
    id_ = ":".join(str(one) for one in parts if one is not None)
    return message.get("subscriptionType"), id_, _time(message.get("occurredAt"), 1)


def _standard(message: dict[str, Any], delivery: Delivery) -> tuple[object, object, object]:
    time = message.get("timestamp", message.get("time"))
    stamped = time if isinstance(time, str) else None
    id_ = message.get("id") if delivery.id is None else delivery.id
    return message.get("type", message.get("event")), id_, stamped


_READERS: Mapping[str, Reader] = {"stripe": _stripe, "hubspot": _hubspot, "hubspot_v2": _hubspot}


def _time(value: object, unit_ms: int) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    try:
        return format_time(value * unit_ms)
    except (ValueError, OverflowError, OSError):
        return str(value)
