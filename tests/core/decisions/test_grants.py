"""Grants: each can be checked alone, however many share a signature, and nothing in one can be changed."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.core.decisions.grants import Claims, GrantError, check_grant, payload_of, signed

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def verify(signature: bytes, message: bytes) -> bool:
    try:
        KEY.public_key().verify(signature, message)
    except InvalidSignature:
        return False
    return True


def claims(number: int = 0) -> Claims:
    return Claims(f"d{number}", "ada", "seats_10", "in_app", 10.0, "EUR", "month", 5_000)


def grants(count: int) -> list[str]:
    return signed([payload_of(claims(number)) for number in range(count)], KEY.sign)


def refused(grant: str, now_ms: int = 1_000) -> str:
    with pytest.raises(GrantError) as error:
        check_grant(grant, verify, now_ms)
    return str(error.value)


@pytest.mark.parametrize("count", [*range(1, 18), 31, 32, 33, 64, 100])
def test_every_grant_of_a_commit_is_checked_alone(count: int) -> None:
    made = grants(count)

    assert [check_grant(grant, verify, 1_000) for grant in made] == [claims(number) for number in range(count)]


def test_a_commit_of_many_is_signed_once() -> None:
    messages = []

    def sign(message: bytes) -> bytes:
        messages.append(message)
        return KEY.sign(message)

    assert len(signed([payload_of(claims(number)) for number in range(50)], sign)) == 50
    assert len(messages) == 1
    assert signed([], sign) == []
    assert len(messages) == 1


def test_a_grant_ends_when_it_says() -> None:
    (grant,) = grants(1)

    assert check_grant(grant, verify, 5_000).expires_ms == 5_000
    assert "has run out" in refused(grant, 5_001)


def test_the_payload_of_another_is_not_signed() -> None:
    made = grants(5)
    other = payload_of(Claims("d0", "ada", "seats_10", "in_app", 1.0, "EUR", "month", 5_000))

    for grant in made:
        assert "not signed" in refused(f"{other}.{grant.partition('.')[2]}")
    assert "not signed" in refused(f"{made[0].partition('.')[0]}.{made[1].partition('.')[2]}")


def test_no_bit_of_a_proof_can_be_changed() -> None:
    grant = grants(6)[2]
    payload, _, text = grant.partition(".")
    proof = bytearray(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    for place in range(len(proof)):
        proof[place] ^= 1
        changed = urlsafe_b64encode(proof).rstrip(b"=").decode()
        # Bits above the path say nothing: 3 siblings use the lowest 3 of the 32.
        if place not in (64, 65, 66):
            assert "not signed" in refused(f"{payload}.{changed}")
        proof[place] ^= 1


@pytest.mark.parametrize("damage", ["", ".", "x", "x.y", "e30.AAAA", "%%%.%%%"])
def test_what_is_no_grant_is_refused_in_words(damage: str) -> None:
    assert refused(damage)


def test_a_proof_cut_short_is_not_signed() -> None:
    grant = grants(4)[1]
    for length in range(grant.index("."), len(grant), 7):
        refused(grant[:length])
