"""Webhook signatures: whether a delivery comes from whoever knows the secret, and is fresh; time is an argument.

Stripe: docs.stripe.com/webhooks (`t`, `v1`; `v0` is for tests and ignored). HubSpot: request validation v1, v2, v3.
Standard Webhooks: standardwebhooks.com (`v1` HMAC-SHA256, `v1a` Ed25519). Segment: `X-Signature`, HMAC-SHA1.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOLERANCE_MS = 300_000
SIGNATURES_MAX = 16
"""How many signatures of one delivery are looked at."""

_DIGITS = re.compile(r"[0-9]{1,13}")
_KINDS = {"whsec_": "v1", "whpk_": "v1a"}
# HubSpot signs the address with these decoded (its page "Validating requests").
_HUBSPOT_DECODED = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")",
    "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip


class SignatureError(ValueError):
    """A delivery that is not taken: `missing` or `malformed` says the sender is set up wrongly, `stale` that it is
    too old (or from the future), `forged` that no secret gives this signature."""

    def __init__(self, code: Literal["missing", "malformed", "stale", "forged"], message: str) -> None:
        super().__init__(message)
        self.code = code


class Delivery(msgspec.Struct, frozen=True):
    """A delivery whose signature holds: when it was signed, and its id where the headers say one."""

    signed_ms: int
    id: str | None = None


def check_stripe(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_ms: int, tolerance_ms: int = TOLERANCE_MS
) -> Delivery:
    """`Stripe-Signature: t=<s>,v1=<hex>[,v1=<hex>…]`; HMAC-SHA256 of `<t>.<body>`. Raises SignatureError."""
    pairs = [part.strip().partition("=") for part in _header(headers, "stripe-signature").split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    if len(times) != 1 or not _DIGITS.fullmatch(times[0]):
        raise SignatureError("malformed", "`Stripe-Signature` must hold one `t=<seconds>`")
    given = [value for name, _, value in pairs if name == "v1"][:SIGNATURES_MAX]
    if not given:
        raise SignatureError("malformed", "`Stripe-Signature` holds no `v1=<signature>`")
    signed = times[0].encode() + b"." + body
    _match([hmac.digest(secret.encode(), signed, hashlib.sha256).hex() for secret in secrets], given)
    return Delivery(_fresh(int(times[0]) * 1000, now_ms, tolerance_ms))


def check_hubspot(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    now_ms: int,
    uri: str,
    method: str = "POST",
    tolerance_ms: int = TOLERANCE_MS,
) -> Delivery:
    """`X-HubSpot-Signature-v3`: base64 HMAC-SHA256 of method, address, body, timestamp. Raises SignatureError."""
    given = _header(headers, "x-hubspot-signature-v3")
    stamp = _header(headers, "x-hubspot-request-timestamp")
    if not _DIGITS.fullmatch(stamp):
        raise SignatureError("malformed", "`X-HubSpot-Request-Timestamp` must be milliseconds since 1970")
    for code, character in _HUBSPOT_DECODED.items():
        uri = uri.replace(code, character).replace(code.lower(), character)
    signed = method.encode() + uri.encode() + body + stamp.encode()
    _match([_b64(hmac.digest(secret.encode(), signed, hashlib.sha256)) for secret in secrets], [given])
    return Delivery(_fresh(int(stamp), now_ms, tolerance_ms))


def check_hubspot_v2(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_ms: int, uri: str, method: str = "POST"
) -> Delivery:
    """`X-HubSpot-Signature` of version v1 or v2: SHA-256 of secret (, method, address) and body.

    Raises SignatureError. It has no time, so an old delivery can be sent again: only event ids keep it from
    counting twice.
    """
    given = _header(headers, "x-hubspot-signature")
    version = headers.get("x-hubspot-signature-version", "v1").lower()
    if version not in ("v1", "v2"):
        raise SignatureError("malformed", "`X-HubSpot-Signature-Version` must be v1 or v2 here")
    middle = method.encode() + uri.encode() if version == "v2" else b""
    _match([hashlib.sha256(secret.encode() + middle + body).hexdigest() for secret in secrets], [given])
    return Delivery(now_ms)


def check_segment(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_ms: int) -> Delivery:
    """`X-Signature` of Segment's own webhooks: hex HMAC-SHA1 of the body, without a time. Raises SignatureError."""
    given = _header(headers, "x-signature")
    _match([hmac.digest(secret.encode(), body, "sha1").hex() for secret in secrets], [given])
    return Delivery(now_ms)


def check_standard(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_ms: int, tolerance_ms: int = TOLERANCE_MS
) -> Delivery:
    """`webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<b64> v1a,<b64> …` over `<id>.<timestamp>.<body>`.

    Secrets are `whsec_<b64>` (HMAC-SHA256) and `whpk_<b64>` (an Ed25519 public key). Raises SignatureError.
    """
    id_, stamp = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
    given = [part.partition(",") for part in _header(headers, "webhook-signature").split()[:SIGNATURES_MAX]]
    if not _DIGITS.fullmatch(stamp):
        raise SignatureError("malformed", "`webhook-timestamp` must be seconds since 1970")
    if not given:
        raise SignatureError("malformed", "`webhook-signature` holds no `v1,<signature>`")
    signed = id_.encode() + b"." + stamp.encode() + b"." + body
    keys = [_key(secret) for secret in secrets]
    hmacs = [_b64(hmac.digest(key, signed, hashlib.sha256)) for kind, key in keys if kind == "v1"]
    if not _among(hmacs, [value for kind, _, value in given if kind == "v1"]) and not any(
        _verifies(key, signed, value)
        for kind, _, value in given
        if kind == "v1a"
        for known, key in keys
        if known == "v1a"
    ):
        raise _forged()
    return Delivery(_fresh(int(stamp) * 1000, now_ms, tolerance_ms), id_)


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "").strip()
    if not value:
        raise SignatureError("missing", f"the header `{name}` is missing: this delivery is not signed")
    return value


def _match(expected: Sequence[str], given: Sequence[str]) -> None:
    if not _among(expected, given):
        raise _forged()


def _among(expected: Sequence[str], given: Sequence[str]) -> bool:
    """Whether any is equal, all compared in constant time."""
    found = False
    for one in given:
        for other in expected:
            found |= hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())
    return found


def _forged() -> SignatureError:
    return SignatureError("forged", "no secret of this source gives this signature: compare them on both sides")


def _fresh(signed_ms: int, now_ms: int, tolerance_ms: int) -> int:
    if abs(now_ms - signed_ms) > tolerance_ms:
        message = f"signed {(now_ms - signed_ms) // 1000} s ago, at most {tolerance_ms // 1000} s are taken"
        raise SignatureError("stale", f"{message}: compare the clocks, or it is sent again")
    return signed_ms


def _key(secret: str) -> tuple[str, bytes]:
    """(version it signs, raw key); a secret that is no base64 is taken as it is."""
    for prefix, kind in _KINDS.items():
        if secret.startswith(prefix):
            try:
                return kind, b64decode(secret.removeprefix(prefix), validate=True)
            except ValueError:
                return kind, secret.removeprefix(prefix).encode()
    return "v1", secret.encode()


def _verifies(key: bytes, signed: bytes, signature: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(b64decode(signature, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _b64(data: bytes) -> str:
    return b64encode(data).decode()
