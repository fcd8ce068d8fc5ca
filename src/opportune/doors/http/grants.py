"""The key with which a stranger checks a grant."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import msgspec
from litestar import Controller, get

from opportune.doors.http.api import Here


class GrantKey(msgspec.Struct, frozen=True):
    """The raw public key, base64url without padding."""

    algorithm: str
    public_key: str


class Grants(Controller):
    """GET /v1/grants/key"""

    path = "/v1/grants"
    tags = ("decisions",)

    @get("/key", sync_to_thread=False, summary="The key that checks grants")
    def key(self, region: Here) -> GrantKey:
        """The Ed25519 key that checks grants of this region."""
        text = urlsafe_b64encode(region.vault.public_key()).rstrip(b"=").decode()
        return GrantKey("Ed25519", text)
