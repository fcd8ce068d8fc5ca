"""Outcomes: what became of a decision; decided, delivered and seen are kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from opportune.core.customers import ContactState

OutcomeKind = Literal[
    "delivered",
    "seen",
    "clicked",
    "accepted",
    "declined",
    "dismissed",
    "converted",
    "csat",
    "churned",
    "complained",
    "undeliverable",
]

CONTACT_STATE: Mapping[str, ContactState] = {
    "delivered": "delivered",
    "seen": "seen",
    "clicked": "seen",
    "accepted": "seen",
    "declined": "seen",
    "dismissed": "seen",
    "undeliverable": "released",
}
"""What an outcome says about the customer's attention that the decision had reserved."""


class OutcomePost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An outcome as it comes through a door.

    Names its `decision`, or, for revenue that no decision claims (a customer in the hold-out who bought), its
    `customer`. `id` makes it safe to send twice. `amount` is money in the playbook's currency.
    """

    kind: OutcomeKind
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    decision: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    customer: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    offer: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    amount: Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)] = 0.0
    reason: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    at: str | None = None


class OutcomeError(ValueError):
    """An outcome that cannot be taken: the field and what to do."""

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.message = message


_DECODER = msgspec.json.Decoder(OutcomePost | list[OutcomePost])


def parse_outcomes(body: bytes) -> list[OutcomePost]:
    """One outcome or a list of them; OutcomeError names the field."""
    try:
        found = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise OutcomeError("invalid_outcome", path.rstrip("`").lstrip(".") or "body", message) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OutcomeError("invalid_json", "body", f"the body is not JSON: {error}") from None
    posts = found if isinstance(found, list) else [found]
    for post in posts:
        if post.decision is None and post.customer is None:
            raise OutcomeError("invalid_outcome", "decision", "name the `decision`, or the `customer`")
    return posts
