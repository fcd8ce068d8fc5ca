"""CloudEvents 1.0 over HTTP: structured, batched and binary, parsed to drafts; nothing is trusted yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from opportune.core.signals import Draft
from opportune.doors.http.problems import HttpProblem

BATCH_MAX = 1000
_DECODER = msgspec.json.Decoder()


def drafts_of(content_type: str, headers: Mapping[str, str], body: bytes) -> tuple[list[Draft], bool]:
    """The drafts of a request, and whether it was a batch; HttpProblem when the body cannot be read at all."""
    if "ce-specversion" in headers or "ce-id" in headers:
        return [_binary(headers, body)], False
    value = _json(body)
    if isinstance(value, list):
        if len(value) > BATCH_MAX:
            detail = f"a batch holds at most {BATCH_MAX} signals, this one {len(value)}: split it"
            raise HttpProblem(413, "batch_too_large", detail)
        return [draft_of(item) for item in value], True
    if "batch" in content_type:
        raise HttpProblem(400, "invalid_batch", "a CloudEvents batch is a JSON array of events")
    return [draft_of(value)], False


def draft_of(event: object) -> Draft:
    """One structured event; whatever is missing or odd stays so and is named by the check."""
    if not isinstance(event, dict):
        return Draft(source=None, id=None, type=None, data=event)
    data = event.get("data")
    if data is None and "data_base64" in event:
        data = "data_base64 is not accepted: send JSON in `data`"
    return Draft(
        source=event.get("source"),
        id=event.get("id"),
        type=event.get("type"),
        time=event.get("time"),
        subject=event.get("subject"),
        account=event.get("account"),
        version=event.get("schemaversion"),
        data=data,
        region=event.get("region"),
    )


def _binary(headers: Mapping[str, str], body: bytes) -> Draft:
    def header(name: str) -> str | None:
        value = headers.get(f"ce-{name}")
        return None if value is None else unquote(value)

    return Draft(
        source=header("source"),
        id=header("id"),
        type=header("type"),
        time=header("time"),
        subject=header("subject"),
        account=header("account"),
        version=header("schemaversion"),
        data=_json(body) if body else None,
        region=header("region"),
    )


def _json(body: bytes) -> Any:  # noqa: ANN401
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpProblem(400, "invalid_json", f"the body is not JSON: {error}") from None
