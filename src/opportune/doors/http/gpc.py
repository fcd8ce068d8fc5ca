"""Global Privacy Control: the header `Sec-GPC: 1`, and the resource that says it is honoured.

W3C Global Privacy Control, sections 3 (header) and 4 (`/.well-known/gpc.json`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from opportune.core.signals import Draft, Receipt, format_time
from opportune.flows.consent import gpc_drafts
from opportune.flows.region import Region

HEADER = "sec-gpc"


def gpc_sent(headers: Mapping[str, str]) -> bool:
    """Does the sender's browser refuse to be sold and tracked? `headers` are by lower-case name."""
    return headers.get(HEADER) == "1"


def still_to_refuse(region: Region, drafts: Sequence[Draft], receipts: Sequence[Receipt]) -> list[Draft]:
    """The refusals that these signals' people have not been written down with yet."""
    return gpc_drafts(region.releases.live(), region.records.person, drafts, receipts)


@get("/.well-known/gpc.json", tags=("customers",), sync_to_thread=True, summary="Global Privacy Control is honoured")
def gpc_support(region: NamedDependency[SkipValidation[Region]]) -> dict[str, Any]:
    """Is Global Privacy Control honoured, and since which day: that of the live release, whose settings these are."""
    live = region.releases.live()
    history = region.records.live_history()
    since_ms = history[0][0] if history else region.clock.now_ms()
    return {"gpc": bool(live.playbook.app.privacy.gpc_purposes), "lastUpdate": format_time(since_ms)[:10]}
