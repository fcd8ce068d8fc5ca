"""The Segment HTTP API, which RudderStack's SDKs speak too: identify, track, page, screen, group, alias, batch.

By convention `track` names become signal types ("Seat Limit Reached" is `seat.limit_reached`), `identify` is
`person.updated`, `group` is `account.updated`, `page` and `screen` are `page.viewed`, `alias` is `person.aliased`.
Shapes: Segment's public specification, and what SDKs were seen to send.
"""

from __future__ import annotations

from typing import Any

from opportune.core.payloads import Call
from opportune.core.signals import Draft
from opportune.doors.http.problems import HttpProblem
from opportune.doors.http.vendors.parts import (
    ACCOUNT,
    ALIAS,
    PAGE,
    PERSON,
    calls_in,
    first_text,
    made_id,
    part,
    skew_of,
    text_id,
    type_of_event,
)

SENDER = "segment"
KINDS = {
    "/v1/identify": "identify", "/v1/i": "identify", "/v1/track": "track", "/v1/t": "track", "/v1/page": "page",
    "/v1/p": "page", "/v1/screen": "screen", "/v1/s": "screen", "/v1/group": "group", "/v1/g": "group",
    "/v1/alias": "alias", "/v1/a": "alias",
}  # fmt: skip
"""Single calls by path; browsers use the short ones."""

BATCHES = ("/v1/batch", "/v1/b", "/v1/import")
_TYPES = {"identify": PERSON, "group": ACCOUNT, "page": PAGE, "screen": PAGE, "alias": ALIAS}


def segment_calls(path: str, value: object, received_ms: int) -> list[Call]:
    """The calls of a request, whatever is odd in them left for the check; HttpProblem when there are none."""
    if not isinstance(value, dict):
        raise HttpProblem(400, "invalid_call", "a Segment call is a JSON object")
    kind = KINDS.get(path)
    if kind is not None:
        skew_ms = skew_of(value.get("sentAt"), received_ms)
        return [_call({**value, "type": kind}, 0, {}, skew_ms, received_ms)]
    calls = calls_in(value.get("batch"), "a Segment batch")
    # An import tells of the past as it was: nothing was just sent.
    sent_at = None if path == "/v1/import" else value.get("sentAt")
    shared = part(value.get("context"))
    return [
        _call(one, place, shared, skew_of(part(one).get("sentAt") or sent_at, received_ms), received_ms)
        for place, one in enumerate(calls)
    ]


def _call(call: object, place: int, shared: dict[str, Any], skew_ms: int, received_ms: int) -> Call:
    """`userId` or `anonymousId` names the person, either is enough; old senders write `user_id` and `action`."""
    if not isinstance(call, dict):
        return Call(SENDER, "", Draft(source=SENDER, id=None, type=None, data=call))
    kind = call.get("type", call.get("action"))
    context = {**shared, **part(call.get("context"))}
    time = call.get("timestamp") or call.get("originalTimestamp")
    draft = Draft(
        source=SENDER,
        id=text_id(call.get("messageId")) or made_id(call, place, received_ms, time is not None),
        type=_type_of(kind, call),
        time=time,
        subject=text_id(
            call.get("userId"), call.get("user_id"), call.get("anonymousId"), call.get("anonymous_id")
        ),
        account=text_id(call.get("groupId"), call.get("group_id"), context.get("groupId")),
        data=_data_of(kind, call),
        skew_ms=0 if time is None else skew_ms,
    )
    event = call.get("event")
    name = (event if isinstance(event, str) else "") if kind == "track" else f"${kind}"
    traits = part(call.get("traits")) or part(context.get("traits"))
    return Call(SENDER, name, draft, call, part(call.get("properties")), traits, context)


def _type_of(kind: object, call: dict[str, Any]) -> object:
    if kind == "track":
        name = call.get("event")
        return type_of_event(name) if isinstance(name, str) else name
    return _TYPES.get(kind) if isinstance(kind, str) else None


def _data_of(kind: object, call: dict[str, Any]) -> object:
    if kind == "identify":
        # RudderStack's Python SDK puts a person's traits into the context.
        return call.get("traits") or part(call.get("context")).get("traits") or {}
    if kind == "group":
        return call.get("traits") or {}
    data = call.get("properties") or {}
    if kind in ("page", "screen") and isinstance(data, dict):
        return {**data, "name": first_text(call.get("name"), data.get("name"), data.get("path"), data.get("url"))}
    if kind == "alias":
        return {"previous": text_id(call.get("previousId"), call.get("previous_id"))}
    return data
