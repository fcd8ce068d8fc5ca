"""What people say of decisions: closed codes of reasons, and the answer to a review or about an offer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from opportune.core.catalog import Document
from opportune.core.wording import closest, listed

FEEDBACK_SIGNAL: Final = "feedback.given"
"""The built-in signal that an answer becomes, so that features count reasons like anything else that happens."""

Verdict = Literal["approve", "change", "reject", "decline"]
"""Of a review: as it is, with another offer, or not at all. `decline`: an agent did not make an offer."""

Suggests = Literal["forbid", "require_review", "nothing"]


class FeedbackReason(Document, frozen=True, kw_only=True):
    """A reason that people may give. `suggests` is the rule that is proposed where it is given again and again."""

    reason: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,39}$")]
    title: str
    suggests: Suggests = "nothing"


DEFAULT_REASONS: Final = (
    FeedbackReason(reason="wrong_need", title="the customer does not need this", suggests="forbid"),
    FeedbackReason(reason="bad_timing", title="not now", suggests="require_review"),
    FeedbackReason(reason="price", title="too expensive for them", suggests="require_review"),
    FeedbackReason(reason="relationship_risk", title="it would harm the relationship", suggests="require_review"),
    FeedbackReason(reason="wrong_facts", title="what we know about them is wrong", suggests="require_review"),
    FeedbackReason(reason="not_eligible", title="they may not have this", suggests="forbid"),
    FeedbackReason(reason="other", title="something else, said in the note"),
)
"""The catalog of a playbook that declares no `feedback_reasons` of its own."""


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says. `by` is who, as an id of the company's own; `note` is free text, sealed with the customer;
    `changed_to` is the candidate (`offer@channel`) that a `change` wants; `confidence` how sure the person is that
    the customer will accept what is then offered, 0 to 1."""

    verdict: Verdict
    by: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    reasons: tuple[Annotated[str, msgspec.Meta(max_length=64)], ...] = ()
    note: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    changed_to: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class FeedbackError(ValueError):
    """Something said that cannot be taken: the field and what to do."""

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.message = message


def check_feedback(
    said: Feedback, reasons: Sequence[FeedbackReason], candidates: Collection[str]
) -> Feedback:
    """The same; FeedbackError where a reason is not in the catalog, is missing, or what is wanted does not exist."""
    known = [one.reason for one in reasons]
    for one in said.reasons:
        if one not in known:
            near = closest(one, known)
            hint = f"did you mean `{near}`?" if near else f"there are {listed(known)}"
            raise FeedbackError("unknown_reason", "reasons", f"no reason is called `{one}`: {hint}")
    if said.verdict != "approve" and not said.reasons:
        raise FeedbackError("no_reason", "reasons", f"say why, with one or more of {listed(known)}")
    if "other" in said.reasons and not said.note.strip():
        raise FeedbackError("no_note", "note", "`other` needs a note that says what")
    if (said.verdict == "change") != (said.changed_to is not None):
        raise FeedbackError("wrong_change", "changed_to", "`changed_to` goes with the verdict `change` alone")
    if said.changed_to is not None and said.changed_to not in candidates:
        near = closest(said.changed_to, candidates)
        hint = f"did you mean `{near}`?" if near else "write offer@channel"
        raise FeedbackError("unknown_candidate", "changed_to", f"no candidate is called `{said.changed_to}`: {hint}")
    return said


def signal_data(said: Feedback, decision: str, offer: str | None, channel: str | None) -> dict[str, Any]:
    """The data of the signal; `reason` is the first code, so that a feature view can group by it."""
    found: dict[str, Any] = {
        "decision": decision, "verdict": said.verdict, "by": said.by, "reasons": list(said.reasons),
        "offer": offer or "", "channel": channel or "", "reason": said.reasons[0] if said.reasons else "",
    }  # fmt: skip
    if said.note:
        found["note"] = said.note
    if said.changed_to is not None:
        found["changed_to"] = said.changed_to
    if said.confidence is not None:
        found["confidence"] = said.confidence
    return found


_TEXT: Final = {"type": "string", "maxLength": 256, "class": "internal"}
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["decision", "verdict", "by"],
    "properties": {
        "decision": _TEXT,
        "verdict": {**_TEXT, "description": "approve, change, reject or decline"},
        "by": {**_TEXT, "description": "who said it"},
        "reason": {**_TEXT, "description": "the first code of why"},
        "reasons": {"type": "array", "items": _TEXT, "maxItems": 32, "class": "internal", "description": "every code"},
        "offer": _TEXT,
        "channel": _TEXT,
        "changed_to": {**_TEXT, "description": "the candidate that was wanted instead"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1, "class": "internal"},
        "note": {"type": "string", "maxLength": 1000, "class": "personal", "description": "free text"},
    },
    "additionalProperties": True,
}
