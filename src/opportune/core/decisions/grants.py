"""Grants: short-lived signed permissions to present one offer; those of one commit share one Ed25519 signature.

A grant is `payload.proof`, both base64url without padding. The payload is JSON. The proof is the signature (64 bytes),
which siblings stand on the left (4 bytes, big-endian, the lowest bit first) and the siblings (32 bytes each), from the
payload up to the root of a Merkle tree; leaves and nodes are hashed as in RFC 6962. What is signed is DOMAIN and the
root. A grant can be checked alone, with the public key.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from opportune.core.ledger import leaf_hash, node_hash

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes], bool]
"""(signature, message): is it by the key?"""

DOMAIN: Final = b"opportune/grants/v1\n"
SIGNATURE_BYTES: Final = 64
SIDES_BYTES: Final = 4
DEPTH_MAX: Final = 8 * SIDES_BYTES

_encode = msgspec.json.Encoder().encode


class GrantError(ValueError):
    """Why a grant is none."""


class Claims(msgspec.Struct, frozen=True):
    """What may be presented: this offer at this price, to this customer in this channel, until `expires_ms`."""

    decision: str
    customer: str
    offer: str
    channel: str
    price: float
    currency: str
    per: str
    expires_ms: int


def payload_of(claims: Claims) -> str:
    """The first half of a grant, to be signed."""
    return _text(_encode(claims))


def signed(payloads: Sequence[str], sign: Sign) -> list[str]:
    """The grants of these payloads, under one signature."""
    row = [leaf_hash(payload.encode()) for payload in payloads]
    paths: list[list[bytes]] = [[] for _ in row]
    sides = [0] * len(row)
    under = [[place] for place in range(len(row))]
    while len(row) > 1:
        above, covered = [], []
        for left in range(0, len(row) - 1, 2):
            for place in under[left]:
                paths[place].append(row[left + 1])
            for place in under[left + 1]:
                sides[place] |= 1 << len(paths[place])
                paths[place].append(row[left])
            above.append(node_hash(row[left], row[left + 1]))
            covered.append(under[left] + under[left + 1])
        if len(row) % 2:  # the last without a sibling moves up as it is
            above.append(row[-1])
            covered.append(under[-1])
        row, under = above, covered
    signature = sign(DOMAIN + row[0]) if row else b""
    return [
        f"{payload}.{_text(b''.join((signature, side.to_bytes(SIDES_BYTES), *path)))}"
        for payload, side, path in zip(payloads, sides, paths, strict=True)
    ]


def check_grant(grant: str, verify: Verify, now_ms: int) -> Claims:
    """What a grant permits at `now_ms`; GrantError when it is not signed by the key, or has run out."""
    payload, _, proof_text = grant.partition(".")
    try:
        proof = _bytes(proof_text)
        claims = msgspec.json.decode(_bytes(payload), type=Claims)
    except ValueError:
        raise GrantError("the grant is damaged: ask for another decision") from None
    signature, path = proof[:SIGNATURE_BYTES], proof[SIGNATURE_BYTES + SIDES_BYTES :]
    sides = int.from_bytes(proof[SIGNATURE_BYTES : SIGNATURE_BYTES + SIDES_BYTES])
    root = leaf_hash(payload.encode())
    for start in range(0, len(path), len(root)):
        sibling = path[start : start + len(root)]
        root = node_hash(sibling, root) if sides & 1 else node_hash(root, sibling)
        sides >>= 1
    if len(path) % len(root) or not verify(signature, DOMAIN + root):
        raise GrantError("the grant is not signed by this key: take it as it was answered")
    if now_ms > claims.expires_ms:
        raise GrantError("the grant has run out: ask for another decision")
    return claims


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
