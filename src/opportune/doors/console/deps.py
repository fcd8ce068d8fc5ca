"""What the console needs from whoever mounts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from opportune.core.decisions.brain import Brain
from opportune.doors.console.sessions import Sessions
from opportune.doors.http.keys import Keyring
from opportune.flows.region import Region
from opportune.ports import Clock, Ledger, Pulse, Records


def nothing_degraded() -> Sequence[tuple[str, str]]:
    return ()


def never() -> bool:
    return False


class ConsoleDeps(msgspec.Struct, frozen=True):
    """Ports and settings. `brain` gives the live release's brain and `brain_of` that of a release by its hash;
    both raise LookupError when there is none. `degraded` lists (component, what is wrong) of the process.
    `region` is what customers and quarantine are read from and written to; without it the console shows decisions
    only. `stopping` ends open streams within one beat, so that a server can shut down. `keyring` says whose an
    API key is, for what only a person may decide."""

    records: Records
    ledger: Ledger
    pulse: Pulse
    clock: Clock
    brain: Callable[[], Brain]
    brain_of: Callable[[str], Brain]
    sessions: Sessions
    degraded: Callable[[], Sequence[tuple[str, str]]] = nothing_degraded
    stopping: Callable[[], bool] = never
    stream_every_ms: int = 1_000
    streams_max: int = 32
    region: Region | None = None
    keyring: Keyring | None = None
