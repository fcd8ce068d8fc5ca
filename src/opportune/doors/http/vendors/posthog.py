"""PostHog's capture shapes: batches, single events, arrays and forms, with persons and groups inside events.

By convention an event's name becomes a signal type; `$identify` and `$set` are `person.updated`, `$groupidentify`
is `account.updated` and names no person (its `distinct_id` is thrown away), `$pageview` and `$screen` are
`page.viewed`, `$create_alias` is `person.aliased`. What SDKs add for themselves (`$lib`, `$ip`, …) is left out.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

import msgspec

from opportune.core.payloads import Call
from opportune.core.signals import Draft
from opportune.doors.http.problems import HttpProblem
from opportune.doors.http.vendors.parts import (
    ACCOUNT,
    ALIAS,
    PAGE,
    PERSON,
    calls_in,
    decoded,
    first_text,
    made_id,
    part,
    skew_of,
    text_id,
    type_of_event,
)

SENDER = "posthog"
CAPTURES = ("/batch", "/capture", "/e", "/i/v0/e", "/track", "/engage")
FLAGS = ("/flags", "/decide")
_NAMES = {
    "$identify": "$identify", "$set": "$identify", "$groupidentify": "$group", "$pageview": "$page",
    "$screen": "$screen", "$create_alias": "$alias",
}  # fmt: skip
_TYPES = {"$identify": PERSON, "$group": ACCOUNT, "$page": PAGE, "$screen": PAGE, "$alias": ALIAS}
_ACCOUNT_GROUPS = ("company", "account", "organization", "workspace", "team")


def posthog_value(body: bytes) -> Any:  # noqa: ANN401
    """The JSON of a request: plain, or as `data=` of a form, there as JSON or base64; HttpProblem 400."""
    if body[:5] != b"data=" and b"&data=" not in body[:200]:
        return decoded(body)
    form = dict(piece.partition(b"=")[::2] for piece in body.split(b"&"))
    data = unquote_to_bytes(form.get(b"data", b"").replace(b"+", b"%20"))
    if data[:1] in (b"{", b"["):
        return decoded(data)
    try:
        return decoded(b64decode(data.replace(b" ", b"+")))
    except ValueError:
        raise HttpProblem(400, "invalid_json", "`data` of the form is neither JSON nor base64 of it") from None


def posthog_calls(value: object, query: str, received_ms: int) -> list[Call]:
    """The events of a request, whatever is odd in them left for the check; HttpProblem when there are none."""
    sent_at: object = parse_qs(query).get("sent_at", [None])[0]
    if isinstance(value, dict) and "batch" in value:
        calls = calls_in(value["batch"], "a PostHog batch")
        # A migration tells of the past as it was: nothing was just sent.
        sent_at = None if value.get("historical_migration") is True else value.get("sent_at", sent_at)
    elif isinstance(value, list):
        calls = calls_in(value, "a list of PostHog events")
    elif isinstance(value, dict):
        calls, sent_at = [value], value.get("sent_at", sent_at)
    else:
        raise HttpProblem(400, "invalid_call", "a PostHog call is a JSON object or an array of them")
    skew_ms = skew_of(sent_at, received_ms)
    return [_call(one, place, skew_ms, received_ms) for place, one in enumerate(calls)]


def _call(call: object, place: int, skew_ms: int, received_ms: int) -> Call:
    if not isinstance(call, dict):
        return Call(SENDER, "", Draft(source=SENDER, id=None, type=None, data=call))
    event, properties = call.get("event"), part(call.get("properties"))
    name = _NAMES.get(event, event) if isinstance(event, str) else ""
    time, skew_ms = _time_of(call, skew_ms, received_ms)
    # The Python SDK's `set()` has `$set` beside the properties, not in them.
    traits = {**part(call.get("$set_once")), **part(properties.get("$set_once"))}
    traits |= {**part(call.get("$set")), **part(properties.get("$set")), **part(properties.get("$group_set"))}
    draft = Draft(
        source=SENDER,
        id=text_id(call.get("uuid"), properties.get("$insert_id"))
        or made_id(call, place, received_ms, time is not None),
        type=_TYPES.get(name) or (type_of_event(event) if isinstance(event, str) else event),
        time=time,
        subject=None if name == "$group" else text_id(call.get("distinct_id"), properties.get("distinct_id")),
        account=_account_of(name, properties),
        data=_data_of(name, call, properties, traits),
        skew_ms=skew_ms,
    )
    return Call(SENDER, name, draft, call, properties, traits, also=_traits_inside(name, draft, call, properties))


def _time_of(call: dict[str, Any], skew_ms: int, received_ms: int) -> tuple[object, int]:
    """The time as said and the correction of the clock; `offset` is how many ms ago the event was, by any clock."""
    time, offset = call.get("timestamp"), call.get("offset")
    if time is not None:
        return time, skew_ms
    if isinstance(offset, int) and not isinstance(offset, bool) and 0 <= offset <= received_ms:
        return None, -offset
    return None, 0


def _account_of(name: str, properties: Mapping[str, Any]) -> object:
    if name == "$group":
        return text_id(properties.get("$group_key"))
    groups = part(properties.get("$groups"))
    known = next((groups[kind] for kind in _ACCOUNT_GROUPS if kind in groups), None)
    return text_id(known, next(iter(groups.values()), None))


def _data_of(name: str, call: dict[str, Any], properties: dict[str, Any], traits: dict[str, Any]) -> object:
    if name in ("$identify", "$group"):
        return traits
    if name == "$alias":
        return {"previous": text_id(properties.get("alias"))}
    if not isinstance(call.get("properties", {}), dict):
        return call["properties"]
    data = {key: value for key, value in properties.items() if not key.startswith("$") and key != "token"}
    if name in ("$page", "$screen"):
        names = (properties.get(key) for key in ("$screen_name", "name", "$pathname", "title", "$current_url"))
        return {**data, "name": first_text(*names)}
    return data


def _traits_inside(
    name: str, draft: Draft, call: dict[str, Any], properties: dict[str, Any]
) -> tuple[Draft, ...]:
    """Person properties that came inside another event are a fact of their own."""
    traits = {**part(call.get("$set")), **part(properties.get("$set"))}
    if not traits or name in ("$identify", "$group") or not isinstance(draft.id, str):
        return ()
    return (msgspec.structs.replace(draft, id=f"{draft.id}:{PERSON}", type=PERSON, data=traits),)
