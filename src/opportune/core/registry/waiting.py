"""A proposal that waits beside its artefact until a process that writes the record takes it in."""

from __future__ import annotations

import msgspec

from opportune.core.playbook import ModelSpec
from opportune.core.registry.events import ModelEvent, RegistryError


class Proposal(msgspec.Struct, frozen=True):
    """Who trained or imported an artefact, by which description; `event` is what will be written."""

    event: ModelEvent
    spec: ModelSpec | None = None


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Proposal)


def encode_proposal(proposal: Proposal) -> bytes:
    return _ENCODER.encode(proposal)


def decode_proposal(data: bytes) -> Proposal:
    """RegistryError when the bytes are not a proposal."""
    try:
        found = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise RegistryError("unreadable", f"these bytes are not a proposal of a model: {error}") from None
    if found.event.kind != "proposed":
        raise RegistryError("unreadable", f"a proposal cannot be `{found.event.kind}`: it waits to be taken in, only")
    return found
