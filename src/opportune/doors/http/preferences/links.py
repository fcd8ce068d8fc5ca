"""Links that open the pages: the token in them is sealed by the region's vault, and is the whole secret."""

from __future__ import annotations

import msgspec

from opportune.ports import Vault

PREFERENCES, UNSUBSCRIBE = "preferences", "unsubscribe"
"""What a token is for, and the first part of its path: a link to unsubscribe does not open the preferences."""

ONE_CLICK = "List-Unsubscribe=One-Click"
TOKEN_CHARS_MAX = 4096


class Link(msgspec.Struct, frozen=True, array_like=True):
    """Whose page it is, which channel an unsubscribe ends (None: all), and until when the link opens."""

    customer: str
    channel: str | None = None
    expires_ms: int | None = None


def links_to(vault: Vault, link: Link, base: str) -> dict[str, str]:
    """The address of the preference page, and the two headers of a message (RFC 8058, section 3.1)."""
    text = msgspec.json.encode(link).decode()
    page, header = (f"{base}/{kind}/{vault.token(kind, text)}" for kind in (PREFERENCES, UNSUBSCRIBE))
    return {"url": page, "list_unsubscribe": f"<{header}>", "list_unsubscribe_post": ONE_CLICK}


def opened(vault: Vault, kind: str, token: str, now_ms: int) -> Link | None:
    """What a token says; None when it was not made here for this, was altered, or has run out."""
    text = vault.read_token(kind, token) if len(token) <= TOKEN_CHARS_MAX else None
    if text is None:
        return None
    try:
        link = msgspec.json.decode(text, type=Link)
    except msgspec.DecodeError:
        return None
    return None if link.expires_ms is not None and link.expires_ms <= now_ms else link
