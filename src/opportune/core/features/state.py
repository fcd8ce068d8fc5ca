"""What is kept per customer or account: one small cell of bytes per feature, in a value that is never changed."""

from typing import Final

import msgspec

from opportune.core.features.cells import UNREADABLE_CELL


class EntityFeatures(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Cells of one person or account by stable feature key; build new values with `CompiledViews.fold` only.

    INVARIANT: `cells` is never changed after construction. A dict of str to bytes holds nothing the garbage
    collector must visit, so 100,000 of these cost a full collection nothing.
    """

    cells: dict[str, bytes]


class _Unread(dict[str, bytes]):
    """Answers every key with a cell that no read can use."""

    def get(self, key: str, default: object = None) -> bytes:
        return UNREADABLE_CELL


UNREAD: Final = EntityFeatures(_Unread())
"""Stands for a state that did not arrive in time: every feature on it is missing, and no default is given."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(EntityFeatures)


def encode_state(state: EntityFeatures) -> bytes:
    """MessagePack of a state, as stored."""
    return _encoder.encode(state)


def decode_state(blob: bytes) -> EntityFeatures:
    """The state stored as `blob`; raises msgspec.DecodeError when it is none."""
    return _decoder.decode(blob)
