"""Signed notes byte for byte as golang.org/x/mod/sumdb/note publishes them, and everything else refused."""

from base64 import b64decode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.core.ledger import (
    LedgerError,
    checkpoint_body,
    open_checkpoint,
    open_note,
    parse_vkey,
    sign_checkpoint,
    sign_note,
    vkey,
)

# The published example of golang.org/x/mod/sumdb/note (its package documentation holds this key as an example).
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_SIGNATURE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
GO_NOTE = f"{TEXT}\n{GO_SIGNATURE}\n".encode()
GO_KEY = Ed25519PrivateKey.from_private_bytes(GO_SEED)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = "audit.example.com/opportune/eu-1/2026"
TRUSTED = parse_vkey(vkey(NAME, KEY))
ROOT = sha256(b"").digest()
NOTE = sign_checkpoint(NAME, 12_345, ROOT, KEY).note


def test_the_published_note_is_written_byte_for_byte() -> None:
    assert vkey("PeterNeumann", GO_KEY) == GO_VKEY
    assert sign_note(TEXT, "PeterNeumann", GO_KEY) == GO_NOTE


def test_the_published_note_is_read() -> None:
    assert open_note(GO_NOTE, parse_vkey(GO_VKEY)) == TEXT


def test_the_note_of_the_specification_has_a_text_with_an_empty_line() -> None:
    text = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned \u00e8 subito sera.\n"

    assert open_note(sign_note(text, NAME, KEY), TRUSTED) == text


def test_a_checkpoint_is_three_lines() -> None:
    body = f"{NAME}\n12345\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"

    assert checkpoint_body(NAME, 12_345, ROOT) == body
    assert NOTE.startswith(body.encode() + f"\n\u2014 {NAME} ".encode())
    assert open_checkpoint(NOTE, TRUSTED) == sign_checkpoint(NAME, 12_345, ROOT, KEY)


def test_signatures_of_strangers_are_ignored() -> None:
    other = sign_note(TEXT, "witness.example", GO_KEY).rpartition(b"\n\n")[2]

    assert open_note(GO_NOTE + other, parse_vkey(GO_VKEY)) == TEXT


@pytest.mark.parametrize("bit", range(0, 8 * len(NOTE), 7))
def test_no_bit_of_a_checkpoint_can_be_flipped(bit: int) -> None:
    flipped = bytearray(NOTE)
    flipped[bit // 8] ^= 1 << bit % 8

    with pytest.raises(LedgerError):
        open_checkpoint(bytes(flipped), TRUSTED)


def test_a_signature_has_one_spelling() -> None:
    """The last character before the padding has two spare bits: base64 that decodes alike is refused."""
    changed = NOTE[:-3] + bytes([NOTE[-3] + 1]) + b"=\n"

    with pytest.raises(LedgerError, match="not canonical"):
        open_checkpoint(changed, TRUSTED)


SIGNED = NOTE.decode().rpartition("\n\n")[2]


@pytest.mark.parametrize(
    ("note", "why"),
    [
        (NOTE[:-1], "must be text"),
        (NOTE + b"\n", "must be text"),
        (NOTE.replace(b"\n\n", b"\n"), "must be text"),
        (NOTE + b"- no dash AAAA\n", "no signature line|not base64"),
        (NOTE + SIGNED.encode().replace(b"=\n", b"\n"), "not base64"),
        (NOTE + f"\u2014 a+b {SIGNED.split()[-1]}\n".encode(), "no key name"),
        (NOTE + f"\u2014 short AAAA\n".encode(), "no signature line"),  # noqa: F541
        (NOTE.replace(b"12345", b"12346"), "does not fit"),
        (NOTE + b"\xff", "not UTF-8"),
        (NOTE.replace(b"\n", b"\r\n"), "control character"),
        (NOTE + SIGNED.encode() * 70, "limit is 64"),
        (NOTE + bytes(70_000), "limit is 65536"),
        (sign_note(TEXT, NAME, KEY), "exactly three lines"),
        (sign_note(checkpoint_body(NAME, 1, ROOT) + "more\n", NAME, KEY), "exactly three lines"),
        (sign_note(checkpoint_body("other.example", 1, ROOT), NAME, KEY), "is not one of log"),
        (sign_note(checkpoint_body(NAME, 1, ROOT[:31]), NAME, KEY), "is not one of log"),
        (sign_note(checkpoint_body(NAME, 1, ROOT).replace("\n1\n", "\n01\n"), NAME, KEY), "plain decimal"),
        (sign_note(checkpoint_body(NAME, 1, ROOT), NAME, GO_KEY), "not signed by"),
        (sign_note(checkpoint_body(NAME, 1, ROOT), "other.example", KEY), "not signed by"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_said(note: bytes, why: str) -> None:
    with pytest.raises(LedgerError, match=why):
        open_checkpoint(note, TRUSTED)


@pytest.mark.parametrize(
    "text",
    ["", "name", GO_VKEY.replace("c74f", "c74e"), GO_VKEY.replace("+AR", "+BR"), GO_VKEY[:-4], GO_VKEY + "\n"],
)
def test_a_verifier_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LedgerError):
        parse_vkey(text)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak", "no\u00a0break"])
def test_a_name_that_cannot_sign_is_refused(name: str) -> None:
    with pytest.raises(LedgerError, match="no key name"):
        sign_checkpoint(name, 0, ROOT, KEY)


def test_text_without_final_newline_is_not_signed() -> None:
    with pytest.raises(LedgerError, match="must end in a newline"):
        sign_note("open end", NAME, KEY)
