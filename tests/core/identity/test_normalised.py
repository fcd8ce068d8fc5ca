"""One identifier has one spelling, and what is none is told apart from what is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opportune.core.identity import identifier_in, links, normalised, pseudonym


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("email", "  Ada.Lovelace@Example.COM ", "ada.lovelace@example.com"),
        ("email", "ada@example.com.", "ada@example.com"),
        ("email", "ada@b\u00fccher.de", "ada@xn--bcher-kva.de"),
        ("email", "\uff41da@example.com", "ada@example.com"),
        ("email", "ada@example", None),
        ("email", "ada example@x.de", None),
        ("email", "Ada <ada@example.com>", None),
        ("email", ".ada@example.com", None),
        ("email", "n/a", None),
        ("email", "@example.com", None),
        ("phone", "0171 1234567", "+491711234567"),
        ("phone", "+49 (171) 123-45-67", "+491711234567"),
        ("phone", "0049171/1234567", "+491711234567"),
        ("phone", "+1 650-253-0000", "+16502530000"),
        ("phone", "12", None),
        ("phone", "ask Bob", None),
        ("external:crm", "  AcMe-7 ", "AcMe-7"),
        ("external", "   ", None),
    ],
)
def test_spellings(kind: str, value: str, expected: str | None) -> None:
    assert normalised(kind, value, "DE") == expected


def test_without_a_region_a_local_number_is_none() -> None:
    assert normalised("phone", "0171 1234567") is None


@given(st.sampled_from(["email", "phone", "external:x"]), st.text(max_size=60))
def test_normalising_twice_changes_nothing_and_nothing_is_raised(kind: str, value: str) -> None:
    once = normalised(kind, value, "DE")
    assert once is None or normalised(kind, once, "DE") == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada@Example.com", ("email", "ada@example.com")),
        ("+49 171 1234567", ("phone", "+491711234567")),
        ("491711234567", None),
        ("user-1", None),
        ("@handle", None),
        ("+1", None),
    ],
)
def test_ids_that_are_really_addresses(text: str, expected: tuple[str, str] | None) -> None:
    assert identifier_in(text) == expected


def test_a_pseudonym_is_24_plain_characters_that_depend_on_the_hash() -> None:
    one, other = pseudonym(bytes(32)), pseudonym(bytes([1]) + bytes(31))
    assert one != other
    assert one.startswith("c-")
    assert len(one) == 24


def test_external_links_every_system() -> None:
    assert links("external:crm", ("external",))
    assert links("email", ("email", "external"))
    assert not links("phone", ("email", "external"))
