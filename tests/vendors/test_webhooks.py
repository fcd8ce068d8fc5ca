"""Signatures of webhooks: published vectors hold, and 2,000 forged, stale and mangled variants do not."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.core.webhooks import (
    Delivery,
    SignatureError,
    check_hubspot,
    check_hubspot_v2,
    check_segment,
    check_standard,
    check_stripe,
)

from .vendor_room import FIXTURES

PATH = FIXTURES / "signatures/vectors.json"
VECTORS: dict[str, Any] = {one["scheme"]: one for one in json.loads(PATH.read_text())} if PATH.exists() else {}
NOW_MS = 1_795_514_400_000
SECRET = "whsec_test_secret"
needs_vectors = pytest.mark.skipif(not VECTORS, reason="the shared fixtures are not on this machine")


def stripe_header(body: bytes, at_s: int, secret: str = SECRET, version: str = "v1") -> str:
    """What Stripe sends, by its documentation and not by our code."""
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256)
    return f"t={at_s},{version}={mac.hexdigest()}"


def refusal(check: Callable[..., Delivery], *given: Any, **named: Any) -> str:
    with pytest.raises(SignatureError) as refused:
        check(*given, **named)
    assert str(refused.value)
    return refused.value.code


@needs_vectors
def test_the_published_vectors_hold_and_none_holds_for_another_body() -> None:
    def checked(scheme: str, change: bytes = b"") -> Delivery:
        one = VECTORS[scheme]
        body, secrets, value = one["body"].encode() + change, ["other", one["secret"]], one["value"]
        if scheme == "stripe-v1":
            return check_stripe({"stripe-signature": value}, body, secrets, one["timestamp"] * 1000)
        if scheme == "segment-x-signature":
            return check_segment({"x-signature": value}, body, secrets, NOW_MS)
        if scheme in ("hubspot-v1", "hubspot-v2"):
            headers = {"x-hubspot-signature": value, "x-hubspot-signature-version": scheme[-2:]}
            return check_hubspot_v2(headers, body, secrets, NOW_MS, one.get("uri", ""))
        if scheme == "hubspot-v3":
            stamp = one["timestamp_ms"]
            headers = {"x-hubspot-signature-v3": value, "x-hubspot-request-timestamp": str(stamp)}
            return check_hubspot(headers, body, secrets, stamp, one["uri"])
        stamp = one["timestamp"]
        headers = {"webhook-id": one["id"], "webhook-timestamp": str(stamp), "webhook-signature": value}
        return check_standard(headers, body, secrets, stamp * 1000)

    assert len(VECTORS) == 6
    for scheme in VECTORS:
        checked(scheme)
        assert refusal(checked, scheme, b" ") == "forged"


def test_stripe_takes_every_valid_variant_and_no_other() -> None:
    chance = random.Random(7)
    taken = refused = 0
    for number in range(1000):
        body = json.dumps({"id": f"evt_{number}", "n": chance.random(), "ü": "é" * chance.randrange(20)}).encode()
        age_s = chance.randrange(-299, 301)
        at_s = NOW_MS // 1000 - age_s
        good = stripe_header(body, at_s)
        secrets = [SECRET] if chance.random() < 0.5 else ["whsec_new", SECRET]
        variants = [good, good + ",v0=" + "0" * 64, good.replace(",", f",v1={'0' * 64},"), good.replace(",", " , ")]
        check_stripe({"stripe-signature": chance.choice(variants)}, body, secrets, NOW_MS)
        taken += 1
        for header, sent in bad_headers(chance, body, at_s):
            code = refusal(check_stripe, {"stripe-signature": header}, sent, secrets, NOW_MS)
            assert code in ("forged", "stale", "malformed", "missing")
            refused += 1
    assert (taken, refused) == (1000, 10_000)


def bad_headers(chance: random.Random, body: bytes, at_s: int) -> list[tuple[str, bytes]]:
    good = stripe_header(body, at_s)
    signature = good.partition("v1=")[2]
    place = chance.randrange(64)
    flipped = signature[:place] + chance.choice([c for c in "0123456789abcdef" if c != signature[place]])
    flipped += signature[place + 1 :]
    spot = chance.randrange(len(body))
    old = NOW_MS // 1000 - 300 - chance.randrange(1, 10**6)
    return [
        (f"t={at_s},v1={flipped}", body),
        (good, body[:spot] + bytes([body[spot] ^ 1]) + body[spot + 1 :]),
        (good, body + b"\n"),
        (f"t={at_s + 1},v1={signature}", body),
        (stripe_header(body, at_s, "whsec_other"), body),
        (stripe_header(body, at_s, version="v0"), body),
        (stripe_header(body, old), body),
        (stripe_header(body, NOW_MS // 1000 + 301 + chance.randrange(1000)), body),
        (chance.choice([
            f"v1={signature}", f"t={at_s}", f"t=,v1={signature}", f"t={at_s},t={at_s},v1={signature}", "nonsense",
            f"t=+{at_s},v1={signature}", f"t={at_s}.0,v1={signature}", f"t=١٢٣,v1={signature}", "",
        ]), body),
        (f"t={at_s},v1=" + chance.choice([signature[:-1], signature + "0", "é" * 64, signature + "x"]), body),
    ]  # fmt: skip


def test_standard_webhooks_by_hmac_and_by_key_pair_with_rotation() -> None:
    body, stamp = b'{"type":"x"}', str(NOW_MS // 1000)
    signed = b"msg_1." + stamp.encode() + b"." + body
    raw = bytes(range(32))
    pair = Ed25519PrivateKey.from_private_bytes(raw)
    v1 = "v1," + b64encode(hmac.new(raw, signed, hashlib.sha256).digest()).decode()
    v1a = "v1a," + b64encode(pair.sign(signed)).decode()
    secret = "whsec_" + b64encode(raw).decode()
    public = "whpk_" + b64encode(pair.public_key().public_bytes_raw()).decode()

    def check(signature: str, *secrets: str, id_: str = "msg_1", at: str = stamp) -> Delivery:
        headers = {"webhook-id": id_, "webhook-timestamp": at, "webhook-signature": signature}
        return check_standard(headers, body, secrets, NOW_MS)

    assert check(v1, secret).id == "msg_1"
    assert check(v1a, public).id == "msg_1"
    assert check(f"v1,AAAA {v1a} {v1}", "whsec_b3RoZXI=", public).signed_ms == NOW_MS
    assert check(f"v1,AAAA v2,x {v1}", public, secret).signed_ms == NOW_MS
    # An attacker who knows the public key must not be able to use it as an HMAC secret, nor the other way round.
    public_raw = pair.public_key().public_bytes_raw()
    confused = "v1," + b64encode(hmac.new(public_raw, signed, hashlib.sha256).digest()).decode()
    for signature, secrets in (
        (confused, (public,)), (v1a, (secret,)), (v1, (public,)), ("v1a,", (public,)), ("v1,", (secret,)),
        (v1a, ("whsec_" + b64encode(public_raw).decode(),)),
        (v1.replace("v1,", "v2,"), (secret,)), ("v1a,é", (public,)), (v1a, ("whpk_AAAA",)), (v1, ()),
    ):  # fmt: skip
        assert refusal(check, signature, *secrets) == "forged"
    assert refusal(check, v1, secret, id_="msg_2") == "forged"
    assert refusal(check, "", secret) == "missing"
    assert refusal(check, v1, secret, at="now") == "malformed"
    old = str(NOW_MS // 1000 - 301)
    late = b"msg_1." + old.encode() + b"." + body
    signature = "v1," + b64encode(hmac.new(raw, late, hashlib.sha256).digest()).decode()
    assert refusal(check, signature, secret, at=old) == "stale"


def test_hubspot_covers_method_address_and_time() -> None:
    body, stamp, uri = b"[]", str(NOW_MS), "https://h.example/v1/hooks/hubspot?a=%2Fb%3A"
    signed = ("POST" + "https://h.example/v1/hooks/hubspot?a=/b:" + "[]" + stamp).encode()
    value = b64encode(hmac.new(b"s", signed, hashlib.sha256).digest()).decode()
    headers = {"x-hubspot-signature-v3": value, "x-hubspot-request-timestamp": stamp}
    check_hubspot(headers, body, ["s"], NOW_MS, uri)
    assert refusal(check_hubspot, headers, body, ["s"], NOW_MS, uri, "GET") == "forged"
    assert refusal(check_hubspot, headers, body, ["s"], NOW_MS, "https://other.example/") == "forged"
    assert refusal(check_hubspot, headers, body, ["s"], NOW_MS + 300_001, uri) == "stale"
    assert refusal(check_hubspot, {}, body, ["s"], NOW_MS, uri) == "missing"
    odd = {**headers, "x-hubspot-request-timestamp": "x"}
    assert refusal(check_hubspot, odd, body, ["s"], NOW_MS, uri) == "malformed"
    old = {"x-hubspot-signature": "x", "x-hubspot-signature-version": "v9"}
    assert refusal(check_hubspot_v2, old, body, ["s"], NOW_MS, uri) == "malformed"
