"""The border of a region: whoever names another one is refused before the body is read, and the ledger is told.

A request names a region by the header `Opportune-Region`, the query `region`, or a key of another region. The answer is
403, not 421: browsers and proxies send a request that got 421 again by themselves over another connection, with its
body; a 403 is not to be repeated.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from opportune.core.residency import refusal, region_of_key
from opportune.core.signals import Receipt
from opportune.doors.http.bridge import LoopBridge
from opportune.doors.http.keys import Keyring, key_of
from opportune.doors.http.problems import FieldProblem, HttpProblem
from opportune.flows.refuse import Sender
from opportune.flows.region import Region

TOLD_WAIT_MAX_S = 10.0
HEADER = "Opportune-Region"
_HEADER = HEADER.lower().encode()


class WrongRegion(HttpProblem):
    """A request that belongs to another region; `asked` is what it named, `sender` who sent it."""

    def __init__(self, asked: str, here: str, field: str, sender: Sender) -> None:
        said = refusal(asked, here)
        super().__init__(403, "wrong_region", said, [FieldProblem(field, said)])
        self.asked = asked
        self.sender = sender


def check_region(scope: MutableMapping[str, Any], region: Region, keyring: Keyring) -> None:
    """Raises WrongRegion for a request whose header, query or key names another region; looks at no body."""
    here, key = region.name, None
    asked: list[tuple[str, str]] = []
    for name, value in scope["headers"]:
        if name == _HEADER:
            asked.append((value.decode("latin-1").strip(), HEADER))
        elif name == b"authorization":
            key = key_of(value.decode("latin-1"))
    query = scope.get("query_string", b"")
    if b"region" in query or b"%" in query:
        named = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("region", [])
        asked += [(one, "region") for one in named]
    for one, field in asked:
        if one != here:
            raise WrongRegion(one, here, field, Sender(door_of(scope["path"]), actor_of(keyring, key)))
    check_keys([] if key is None else [key], "Authorization", door_of(scope["path"]), region, keyring)


def check_keys(keys: list[str], field: str, door: str, region: Region, keyring: Keyring) -> None:
    """Raises WrongRegion when one of these keys is not known here and says that it belongs to another region."""
    for key in keys:
        named = region_of_key(key)
        if named is None or named == region.name or named not in region.regions():
            continue
        if keyring.caller(key) is None:
            raise WrongRegion(named, region.name, field, Sender(door, "unknown_key"))


async def tell(problem: HttpProblem, region: Region, bridge: LoopBridge) -> None:
    """Tells the ledger of a refusal at the border, before it is answered; the refusal stands when that fails."""
    if not isinstance(problem, WrongRegion):
        return
    future, done = bridge.future()
    region.refusals.note(problem.asked, problem.sender, done=lambda: done(None))
    with suppress(TimeoutError):
        await asyncio.wait_for(future, TOLD_WAIT_MAX_S)


def refuse_alone(receipts: list[Receipt]) -> None:
    """Raises HttpProblem 403 for the one signal of a request when it belongs to another region; in a batch each has
    its receipt. The ledger knows already."""
    if len(receipts) == 1 and receipts[0].status == "rejected" and receipts[0].problems[0].code == "wrong_region":
        problem = receipts[0].problems[0]
        raise HttpProblem(403, problem.code, problem.message, [FieldProblem(problem.field, problem.message)])


def actor_of(keyring: Keyring, key: str | None) -> str:
    """Who sent something, as a code for the ledger: the name of the key, never the key."""
    if key is None:
        return "no_key"
    caller = keyring.caller(key)
    if caller is None:
        return "unknown_key"
    return "key-" + (re.sub(r"[^A-Za-z0-9_.-]", "-", caller.name)[:64] or "unnamed")


def door_of(path: str) -> str:
    """The door a path leads to, one of a few."""
    parts = path.split("/")
    first = parts[2] if len(parts) > 2 and parts[1] == "v1" else parts[1] if len(parts) > 1 else ""
    if first in ("signals", "decisions", "outcomes", "customers", "hooks"):
        return first
    return "console" if first == "console" else "http"
