"""Questions: what may be asked of a decision, checked against the live release before anything is looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec

from opportune.core.catalog import Moment, PriorityClass
from opportune.core.decisions.brain import Brain

BUDGET_MS_MAX = 10_000
KEY_CHARS_MAX = 128
_INT64 = 2**63


class Who(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The customer, by id in the company's own systems or by an identifier such as an e-mail address."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=320)] | None = None


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A decision request, as it comes through a door.

    `gpc` says that the customer's browser sends `Sec-GPC: 1`: what that refuses is not offered this time. `priority`
    lowers the class of the moment for this question, such as `batch` for one that can wait; it never raises it.
    """

    customer: Who
    moment: str
    channels: tuple[str, ...] = ()
    context: Mapping[str, Any] = {}
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    budget_ms: Annotated[int, msgspec.Meta(ge=1, le=BUDGET_MS_MAX)] | None = None
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_CHARS_MAX)] | None = None
    gpc: bool = False
    priority: PriorityClass | None = None


class QuestionError(ValueError):
    """A question that cannot be asked: `code` for machines, the field, and a sentence that says what to do."""

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.message = message


_DECODER = msgspec.json.Decoder(Question)


def parse_question(body: bytes) -> Question:
    """The question in a JSON body; QuestionError names the field that is wrong."""
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise QuestionError("invalid_question", path.rstrip("`").lstrip(".") or "body", message) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise QuestionError("invalid_json", "body", f"the body is not JSON: {error}") from None


def check_question(brain: Brain, question: Question) -> tuple[Moment, tuple[str, ...]]:
    """The moment asked about and the channels open to it; QuestionError for a name the playbook does not have."""
    if (question.customer.id is None) == (question.customer.email is None):
        raise QuestionError("invalid_question", "customer", "name the customer by either `id` or `email`")
    moment = brain.moments.get(question.moment)
    if moment is None:
        raise QuestionError("unknown_moment", "moment", _unknown("moment", question.moment, brain.moments))
    for channel in question.channels:
        if channel not in brain.channels:
            raise QuestionError("unknown_channel", "channels", _unknown("channel", channel, brain.channels))
    _check_context(moment, question.context)
    asked = question.channels or moment.channels
    return moment, tuple(channel for channel in moment.channels if channel in asked)


def _check_context(moment: Moment, context: Mapping[str, Any]) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "bool": (bool,), "int": (int,), "double": (int, float), "string": (str,)
    }
    for name, value in context.items():
        type_ = moment.context.get(name)
        if type_ is None:
            message = _unknown(f"context of moment `{moment.moment}`", name, moment.context)
            raise QuestionError("unknown_context", f"context.{name}", message)
        if not isinstance(value, kinds[type_]) or (type_ != "bool" and isinstance(value, bool)):
            message = f"`context.{name}` must be of type {type_}, as the playbook declares"
            raise QuestionError("invalid_context", f"context.{name}", message)
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            message = f"`context.{name}` does not fit in 64 bits: send it as a string"
            raise QuestionError("invalid_context", f"context.{name}", message)
        if isinstance(value, str) and len(value) > 256:
            raise QuestionError("invalid_context", f"context.{name}", f"`context.{name}` exceeds 256 characters")


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, 1)
    hint = f"; did you mean `{near[0]}`?" if near else f": the playbook has {', '.join(names) or 'none'}"
    return f"no {kind} is called `{name[:64]}`{hint}"
