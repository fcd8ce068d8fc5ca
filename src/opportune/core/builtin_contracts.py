"""The contracts that every release has: consent, of which pages speak, and what people say of decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from opportune.core.consents import BASES, CONSENT_SIGNALS, consent_problems
from opportune.core.feedback.words import FEEDBACK_SIGNAL, SCHEMA
from opportune.core.signals import CompiledContract, SignalContract

_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 128}
_PURPOSE: Final = {**_NAME, "class": "internal", "description": "what for; `*` is everything, for a refusal only"}
_CHANNELS: Final = {
    "type": "array", "minItems": 1, "maxItems": 64, "items": _NAME, "class": "internal",
    "description": "channel ids, or * for all",
}  # fmt: skip
_PROPERTIES: Final[Mapping[str, Any]] = {
    "purpose": _PURPOSE,
    "channels": _CHANNELS,
    "controller": {
        "type": "string", "maxLength": 200, "class": "internal",
        "description": "whom this was said to; the playbook's own controller when absent",
    },
    "basis": {"enum": list(BASES), "type": "string", "class": "internal", "description": "why data may be used"},
    "evidence": {
        "type": "string", "maxLength": 1000, "class": "personal", "description": "what proves it: a form, a call",
    },
    "notice": {"type": "string", "maxLength": 200, "class": "internal", "description": "version of the text shown"},
    "expires_at": {
        "type": "string", "class": "internal",
        "description": "RFC 3339: until when a permission holds; what cannot be read permits nothing",
    },
}  # fmt: skip

_FULL_WORD: Final[Mapping[str, Any]] = {
    "purpose": "marketing", "channels": ["*"], "basis": "consent", "evidence": "a page", "notice": "1",
}  # fmt: skip


def _contract(signal: str) -> SignalContract:
    required = ["purpose", "channels"] if CONSENT_SIGNALS[signal] == "given" else ["purpose"]
    schema = {"type": "object", "required": required, "properties": _PROPERTIES, "additionalProperties": True}
    return SignalContract(signal=signal, version=1, owner="opportune", about="person", schema=schema, class_="personal")


BUILTIN_CONTRACTS: Final[tuple[SignalContract, ...]] = (
    *map(_contract, CONSENT_SIGNALS),
    SignalContract(signal=FEEDBACK_SIGNAL, version=1, owner="opportune", about="person", schema=SCHEMA),
)


def with_builtins(contracts: Sequence[SignalContract]) -> tuple[SignalContract, ...]:
    """A playbook's contracts and the built-in ones it has none of its own for, in any version.

    A contract of the playbook's replaces the built-in one of the same name whole.
    """
    own = {one.signal for one in contracts}
    return (*contracts, *(one for one in BUILTIN_CONTRACTS if one.signal not in own))


def with_meaning(compiled: CompiledContract) -> CompiledContract:
    """A consent contract that also refuses what means nothing, whoever wrote its schema; any other as it is."""
    type_, validate = compiled.contract.signal, compiled.validate
    if type_ not in CONSENT_SIGNALS:
        return compiled

    def both(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from consent_problems(type_, data)
        yield from validate(data)

    return msgspec.structs.replace(compiled, validate=both)


def narrower(compiled: CompiledContract) -> str | None:
    """Why a playbook's own consent contract may not stand in for the built-in one; None when it may.

    INVARIANT: what the preference page, an unsubscribe link or a browser says is never kept out by a schema.
    """
    type_ = compiled.contract.signal
    if type_ not in CONSENT_SIGNALS:
        return None
    if compiled.contract.about in ("account", "both"):
        return "a consent is a person's, and pages know no account: write `about: person`"
    for path, message in compiled.validate(_FULL_WORD):
        return f"it must take what preference pages and browsers say, but `data{path}` {message}"
    return None
