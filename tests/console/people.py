"""A region at work over the sample playbook, with a customer who has a story and signals that were kept out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.memory import MemoryRecords
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.playbook import load
from opportune.adapters.system.vault import FileVault
from opportune.core.decisions.questions import Question, Who
from opportune.core.outcomes import OutcomePost
from opportune.core.playbook import Exploration, Holdout
from opportune.core.signals import Draft, Receipt, format_time
from opportune.doors.console import ConsoleDeps, Sessions, console_handlers
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock

SAMPLE = Path(__file__).parents[2] / "samples/saas"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class People:
    """A region whose clock stands; `say` sends a signal so long ago."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.clock: Any = region.clock
        self.sessions = Sessions(region.clock)

    def app(self, **more: Any) -> Litestar:
        region = self.region
        deps = ConsoleDeps(
            records=region.records, ledger=region.ledger, pulse=region.pulse, clock=region.clock,
            brain=region.releases.brain, brain_of=region.releases.brain_of, sessions=self.sessions, region=region,
            **more,
        )  # fmt: skip
        return Litestar(console_handlers(deps), openapi_config=None)

    def say(
        self, type_: str, data: object, *, subject: object = "ada", account: object = "acme", ago_ms: int = 0,
        source: str = "crm", id_: str | None = None, **more: Any,
    ) -> Receipt:  # fmt: skip
        at = format_time(self.region.clock.now_ms() - ago_ms)
        draft = Draft(
            source, id_ or self.region.clock.new_id(), type_, more.pop("time", at), subject, account, data=data, **more
        )
        return self.region.ingest.run([draft])[0]

    def decide(self, customer: str = "ada", moment: str = "usage.limit_reached") -> str:
        asked = Question(
            Who(id=customer), moment, channels=("in_app",), context={"limit": "seats", "used": 10}, budget_ms=10_000
        )
        return self.region.decide.run(asked).decision_id

    def story(self) -> str:
        """Ada of Acme: described by two systems, asked, billed, offered something, answered; the decision's id."""
        self.say("account.updated", {"new": True, "name": "Acme", "plan": "team", "seats": 10, "industry": "retail"},
                 subject=None, ago_ms=90 * DAY_MS)  # fmt: skip
        self.say("subscription.started", {"subscription": "S1", "plan": "team", "seats": 10, "mrr": 300,
                                          "billing": "monthly"}, subject=None, source="billing",
                 ago_ms=90 * DAY_MS)  # fmt: skip
        self.say("person.updated", {"role": "owner", "email": "ada@example.com", "locale": "en"}, ago_ms=80 * DAY_MS)
        self.say("person.updated", {"nickname": "the countess", "timezone": "Europe/London"}, source="hubspot",
                 ago_ms=20 * DAY_MS)  # fmt: skip
        self.say("consent.refused", {"purpose": "marketing", "channels": ["email"]}, source="web", ago_ms=40 * DAY_MS)
        given = {"purpose": "marketing", "channels": ["in_app"], "expires_at": "2027-11-24T00:00:00Z"}
        self.say("consent.given", given, source="web", ago_ms=30 * DAY_MS)
        self.say("seats.counted", {"used": 10, "seats": 10}, source="product", ago_ms=HOUR_MS)
        paid = {"status": "succeeded", "amount": 300.0}
        self.say("payment.succeeded", paid, subject=None, source="billing", ago_ms=5 * DAY_MS)
        # The same address under another id: one person.
        self.say("person.updated", {"email": "Ada@Example.com", "locale": "en-GB"}, subject="shop-7", source="shop",
                 ago_ms=10 * DAY_MS)  # fmt: skip
        decision = self.decide()
        self.region.act.run([OutcomePost("delivered", decision=decision)])
        self.region.act.run([OutcomePost("converted", decision=decision, amount=1080.0)])
        return decision

    def kept_out(self) -> list[int]:
        """Signals with something wrong: a bad value beside personal ones, an unknown type, a conflict, a late clock."""
        self.say("person.updated", {"timezone": 7, "email": "bob@example.com", "note": "call +44 20 7946 0001"},
                 subject="bob", id_="bad-1")  # fmt: skip
        self.say("coffee.drunk", {"cups": 3, "who": "Grace Hopper"}, subject="grace", source="kitchen", id_="bad-2")
        self.say("seats.counted", {"used": 3, "seats": 5}, subject="ada", source="product", id_="twice")
        self.say("seats.counted", {"used": 4, "seats": 5}, subject="ada", source="product", id_="twice")
        self.say("seats.counted", {"used": "many"}, subject=None, account=None, source="product", id_="bad-3",
                 time="2031-01-01T00:00:00Z")  # fmt: skip
        return sorted(one.seq for one in self.region.records.quarantined(100))


@contextmanager
def people_in(folder: Path) -> Iterator[People]:
    """The sample playbook without chance: nobody is held out, the best is chosen."""
    book = load(SAMPLE).playbook
    app = msgspec.structs.replace(
        book.app, holdout=Holdout(share=0.0, salt="tests"), exploration=Exploration(method="off")
    )
    records = MemoryRecords()
    key = load_or_create_key(folder / "keys" / "ledger.key")
    region = Region(
        name="eu", records=records, ledger=PublishedLedger(folder / "ledger", "larkfield/eu", key, records),
        vault=FileVault(folder / "keys"), clock=FrozenClock(), pulse=MemoryPulse(),
    )  # fmt: skip
    try:
        region.promote(region.release(msgspec.structs.replace(book, app=app)).hash, "tests", "first")
        yield People(region)
    finally:
        region.close()
