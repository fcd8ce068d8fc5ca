"""Who decides in the console: whoever's own API key was given in this session."""

from __future__ import annotations

from opportune.doors.console.desk import Desk
from opportune.doors.console.security import AnyRequest
from opportune.doors.console.sessions import COOKIE

NO_KEY = (
    "That is no key that may approve. Make one for a person with `opportune keys add NAME --scopes approve,read`, "
    "where NAME stands under `people` of opportune.yaml."
)


def known_person(desk: Desk, request: AnyRequest) -> str | None:
    """Who this session is known to be."""
    return desk.deps.sessions.person(request.cookies.get(COOKIE, ""))


def person_of(desk: Desk, request: AnyRequest, key: str) -> tuple[str | None, str]:
    """The person of this session, or of a key, who is remembered; None and why, where there is none."""
    sessions, session = desk.deps.sessions, request.cookies.get(COOKIE, "")
    known = sessions.person(session)
    if not key.strip() and known is not None:
        return known, ""
    ring = desk.deps.keyring
    caller = None if ring is None else ring.caller(key.strip())
    if caller is None or "approve" not in caller.scopes:
        return None, NO_KEY
    sessions.name(session, caller.name)
    return caller.name, ""
