"""The Segment HTTP API by convention: identify, track, page, screen, group, alias and batch as signals.

`track` names become signal types ("Seat Limit Reached" is `seat.limit_reached`); `identify` is `person.updated`,
`group` is `account.updated`, `page` and `screen` are `page.viewed`. Shapes: Segment's public specification.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from opportune.core.signals import Draft
from opportune.doors.http.cloudevents import BATCH_MAX
from opportune.doors.http.problems import HttpProblem

SOURCE = "segment"
KINDS = ("identify", "track", "page", "screen", "group", "alias")
SEGMENT_PATHS = tuple(f"/v1/{kind}" for kind in (*KINDS, "batch", "import"))

_DECODER = msgspec.json.Decoder()
_SPLIT = re.compile(r"[^a-z0-9]+")


def segment_drafts(path: str, body: bytes) -> list[Draft]:
    """The drafts of a call; HttpProblem when the body is no JSON object."""
    try:
        value = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpProblem(400, "invalid_json", f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise HttpProblem(400, "invalid_call", "a Segment call is a JSON object")
    kind = path.rsplit("/", 1)[1]
    if kind not in ("batch", "import"):
        return [draft_of({**value, "type": kind})]
    batch = value.get("batch")
    if not isinstance(batch, list):
        raise HttpProblem(400, "invalid_call", "a Segment batch has its calls in the array `batch`")
    if len(batch) > BATCH_MAX:
        raise HttpProblem(413, "batch_too_large", f"a batch holds at most {BATCH_MAX} calls: split it")
    return [draft_of(call) for call in batch]


def draft_of(call: object) -> Draft:
    """One call; a missing `messageId` stays missing and is named by the check."""
    if not isinstance(call, dict):
        return Draft(source=SOURCE, id=None, type=None, data=call)
    kind = call.get("type")
    context = call.get("context")
    group = context.get("groupId") if isinstance(context, dict) else None
    return Draft(
        source=SOURCE,
        id=call.get("messageId"),
        type=_type_of(kind, call),
        time=call.get("timestamp") or call.get("originalTimestamp"),
        subject=call.get("userId") or call.get("anonymousId"),
        account=call.get("groupId") or group,
        data=_data_of(kind, call),
    )


def type_of_event(name: str) -> str:
    """"Seat Limit Reached" to `seat.limit_reached`: the first word is the object."""
    words = [word for word in _SPLIT.split(name.lower()) if word]
    return f"{words[0]}.{'_'.join(words[1:])}" if len(words) > 1 else "".join(words)


def _type_of(kind: object, call: dict[str, Any]) -> object:
    if kind == "track":
        name = call.get("event")
        return type_of_event(name) if isinstance(name, str) else None
    if not isinstance(kind, str):
        return None
    return {
        "identify": "person.updated",
        "group": "account.updated",
        "page": "page.viewed",
        "screen": "page.viewed",
        "alias": "person.aliased",
    }.get(kind)


def _data_of(kind: object, call: dict[str, Any]) -> object:
    if kind in ("identify", "group"):
        return call.get("traits") or {}
    data = call.get("properties") or {}
    if kind in ("page", "screen") and isinstance(data, dict):
        return {"name": call.get("name") or data.get("name") or data.get("path") or "", **data}
    if kind == "alias":
        return {"previous": call.get("previousId")}
    return data
