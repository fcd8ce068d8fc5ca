"""CloudEvents 1.0 as the simulated source systems send them: structured JSON, numbered per world."""

from __future__ import annotations

from typing import Any

from opportune.core.signals import format_time
from opportune.testing.world.state import Account, Person

Event = dict[str, Any]

_SOURCES = {
    "subscription": "larkfield/billing",
    "addon": "larkfield/billing",
    "payment": "larkfield/billing",
    "ticket": "larkfield/support",
    "account": "larkfield/crm",
    "person": "larkfield/crm",
    "consent": "larkfield/crm",
    "offer": "larkfield/campaigns",
}


class Post:
    """Writes envelopes; `prefix` keeps the ids of two runs apart."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.number = 0

    def event(
        self, type_: str, at_ms: int, account: Account, person: Person | None = None, **data: object
    ) -> Event:
        """One signal about an account, and about one of its people when given."""
        self.number += 1
        event: Event = {
            "specversion": "1.0",
            "id": f"{self.prefix}-{self.number:07d}",
            "source": _SOURCES.get(type_.partition(".")[0], "larkfield/app"),
            "type": type_,
            "time": format_time(at_ms),
            "account": account.id,
            "datacontenttype": "application/json",
            "data": data,
        }
        if person is not None:
            event["subject"] = person.id
        return event

    def subscription(self, type_: str, at_ms: int, account: Account) -> Event:
        """`subscription.started` or `subscription.changed` with what holds now."""
        return self.event(
            type_,
            at_ms,
            account,
            account.people[0],
            subscription=account.subscription,
            plan=account.plan,
            seats=account.seats,
            mrr=account.mrr,
            billing=account.billing,
            trial=False,
        )

    def seats(self, at_ms: int, account: Account) -> Event:
        return self.event("seats.counted", at_ms, account, used=account.used_whole, seats=account.seats)
