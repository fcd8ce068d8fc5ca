"""Who is signed in to the console: one-time invitations and sessions, random, in memory, only as hashes."""

from __future__ import annotations

import secrets
from hashlib import sha256
from hmac import compare_digest
from threading import Lock

from opportune.ports import Clock

INVITATION_MS = 60 * 60_000
SESSION_MS = 12 * 60 * 60_000
SESSIONS_MAX = 256
COOKIE = "opportune_console"


class Sessions:
    """Invitations become sessions once; both end by themselves. A restart ends all of them."""

    def __init__(
        self, clock: Clock, *, invitation_ms: int = INVITATION_MS, session_ms: int = SESSION_MS
    ) -> None:
        self._clock = clock
        self._invitation_ms = invitation_ms
        self._session_ms = session_ms
        self._invitations: dict[bytes, int] = {}
        self._sessions: dict[bytes, int] = {}
        self._people: dict[bytes, str] = {}
        self._lock = Lock()

    def invite(self) -> str:
        """A one-time token: whoever opens `/console?t=<token>` within the hour is signed in."""
        return self._issue(self._invitations, self._invitation_ms)

    def enter(self, token: str) -> str | None:
        """The new session of a token that was not used yet; None when it is unknown, used or too old."""
        with self._lock:
            found = self._find(self._invitations, token)
            if found is None:
                return None
            del self._invitations[found]
        return self._issue(self._sessions, self._session_ms)

    def known(self, session: str) -> bool:
        with self._lock:
            return self._find(self._sessions, session) is not None

    def name(self, session: str, person: str) -> None:
        """From now on it is known who works in this session."""
        with self._lock:
            found = self._find(self._sessions, session)
            self._people = {one: who for one, who in self._people.items() if one in self._sessions}
            if found is not None:
                self._people[found] = person

    def person(self, session: str) -> str | None:
        """Who works in this session, when they have said so with a key of their own."""
        with self._lock:
            found = self._find(self._sessions, session)
            return None if found is None else self._people.get(found)

    def leave(self, session: str) -> None:
        with self._lock:
            found = self._find(self._sessions, session)
            if found is not None:
                del self._sessions[found]
                self._people.pop(found, None)

    def _issue(self, shelf: dict[bytes, int], keep_ms: int) -> str:
        token = secrets.token_urlsafe(32)
        with self._lock:
            while len(shelf) >= SESSIONS_MAX:
                del shelf[next(iter(shelf))]
            shelf[_digest(token)] = self._clock.now_ms() + keep_ms
        return token

    def _find(self, shelf: dict[bytes, int], token: str) -> bytes | None:
        """Looks at every entry, so that the time it takes says nothing about which one it was."""
        now_ms = self._clock.now_ms()
        wanted, found = _digest(token), None
        for digest, ends_ms in list(shelf.items()):
            if ends_ms <= now_ms:
                del shelf[digest]
            elif compare_digest(digest, wanted):
                found = digest
        return found


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()
