"""What the vendors' shapes have in common: parts that may be wrong, names made types, clocks, and ids."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from opportune.core.signals import parse_time_ms
from opportune.doors.http.problems import HttpProblem

CALLS_MAX = 1000
SKEW_MS_MIN = 10_000
"""A smaller difference between the clocks is the way of the message, and the time stays as it was sent."""

PERSON, ACCOUNT, PAGE, ALIAS = "person.updated", "account.updated", "page.viewed", "person.aliased"

_DECODER = msgspec.json.Decoder()
_SORTED = msgspec.json.Encoder(order="sorted")
_SPLIT = re.compile(r"[^a-z0-9]+")


def decoded(body: bytes) -> Any:  # noqa: ANN401
    """The JSON of a body, whatever its content type says; HttpProblem 400."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpProblem(400, "invalid_json", f"the body is not JSON: {error}") from None


def calls_in(batch: object, named: str) -> list[Any]:
    """The calls of a batch; HttpProblem 400 when it is no list, or too long."""
    if not isinstance(batch, list):
        raise HttpProblem(400, "invalid_call", f"{named} has its calls in the array `batch`")
    if len(batch) > CALLS_MAX:
        detail = f"a batch holds at most {CALLS_MAX} calls, not {len(batch)}: split it"
        raise HttpProblem(400, "batch_too_large", detail)
    return batch


def type_of_event(name: str) -> str:
    """"Seat Limit Reached" to `seat.limit_reached`: the first word is the object."""
    words = [word for word in _SPLIT.split(name.lower()) if word]
    return f"{words[0]}.{'_'.join(words[1:])}" if len(words) > 1 else "".join(words)


def part(value: object) -> dict[str, Any]:
    """A part of a call that should be an object; empty when it is none."""
    return value if isinstance(value, dict) else {}


def text_id(*values: object) -> object:
    """The first id that is there, numbers as text; something odd stays odd, for the check to name."""
    value = next((one for one in values if one is not None and one != ""), None)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def first_text(*values: object) -> str:
    return next((value for value in values if isinstance(value, str) and value), "")


def skew_of(sent_at: object, received_ms: int) -> int:
    """What the sender's clock lags behind ours, in ms: received minus sent. 0 when it is small or not known."""
    if not isinstance(sent_at, str):
        return 0
    try:
        skew_ms = received_ms - parse_time_ms(sent_at)
    except (ValueError, OverflowError):
        return 0
    return skew_ms if abs(skew_ms) >= SKEW_MS_MIN else 0


def made_id(call: dict[str, Any], place: int, received_ms: int, timed: bool) -> str:
    """An id for a call without one: the same call sent again has the same, as long as it says when it happened."""
    try:
        said = _SORTED.encode(call if timed else (call, place, received_ms))
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError):
        said = repr(call).encode("utf-8", "replace")
    return f"made-{hashlib.blake2b(said, digest_size=16).hexdigest()}"
