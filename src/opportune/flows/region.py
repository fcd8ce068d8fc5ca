"""A region at work: one set of ports, the flows over them, and the release that is live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock, RLock

import msgspec

from opportune.core.customers import Person
from opportune.core.decisions.answers import answer_of
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import choose, score
from opportune.core.decisions.records import RECORD_VERSION, Asked, DecisionRecord, encode_record
from opportune.core.decisions.shortlist import Shortlist, shortlist
from opportune.core.decisions.snapshot import see
from opportune.core.features import ReaderSpec
from opportune.core.features.coverage import POSITION, decode_coverage
from opportune.core.models import Scorecard
from opportune.core.playbook import Playbook
from opportune.core.releases import Release
from opportune.flows.act import Act
from opportune.flows.admission import Gate
from opportune.flows.answer import Answer
from opportune.flows.approve import Registry
from opportune.flows.backfill import Tell, finish, prepare, share_from_now
from opportune.flows.breakers import Breakers
from opportune.flows.decide import Decide
from opportune.flows.govern import before_live, make_release, manifest_of, promote, release_for
from opportune.flows.guarded import Scoring
from opportune.flows.ingest import Ingest
from opportune.flows.learning.adapt import Beliefs
from opportune.flows.learning.drift import Drift
from opportune.flows.learning.personalize import Personalize
from opportune.flows.learning.validate import OnnxOf, Validate
from opportune.flows.merges import Merging
from opportune.flows.outgoing import Outgoing
from opportune.flows.outside import OutsideReads
from opportune.flows.refuse import Refusals
from opportune.flows.replay import Replayed, replay
from opportune.flows.same import SameKeys
from opportune.flows.send import Send
from opportune.ports import Clock, Courier, FeatureReader, Ledger, Pulse, Records, Scanner, Shelf, ShelfError, Vault

RELEASES_KEPT_MAX = 8


class NotReady(RuntimeError):
    """Nothing is live yet: make and promote a release first."""


class Nowhere(Shelf):
    """The shelf of a region that has none: nothing can be put there."""

    def put(self, kind: str, content: bytes) -> str:
        raise ShelfError("this region keeps no models: open it with a shelf")

    def get(self, kind: str, name: str) -> bytes:
        raise ShelfError(f"this region keeps no models, and none called `{name}`")

    def names(self, kind: str) -> list[str]:
        return []


class Releases:
    """Compiled releases by hash, the newest used kept, and the live one at hand."""

    def __init__(self, records: Records, region: str) -> None:
        self._records = records
        self._region = region
        self._lock = Lock()
        self._compiled: dict[str, Release] = {}
        self._live: Release | None = None

    def live(self) -> Release:
        """The live release; NotReady when there is none."""
        live = self._live
        if live is None:
            hash_ = self._records.live()
            if hash_ is None:
                raise NotReady("no release is live: run `opportune release` and `opportune promote`")
            live = self._live = self._ready(hash_)
        return live

    def switch(self, hash_: str) -> None:
        """Makes a release the live one in this process, after it was promoted in the records."""
        self._live = self._ready(hash_)

    def refresh(self) -> None:
        """Looks again at what the live release may read: cells became whole, or are owed signals now."""
        if self._live is not None:
            self._live = self._ready(self._live.hash)

    def brain(self) -> Brain:
        return self.live().brain

    def brain_of(self, hash_: str) -> Brain:
        return self.get(hash_).brain

    def get(self, hash_: str) -> Release:
        """A release compiled for this region; LookupError when nothing is stored under this hash, GovernError when it
        was made for other regions."""
        with self._lock:
            found = self._compiled.pop(hash_, None)
            if found is None:
                stored = self._records.release(hash_)
                if stored is None:
                    raise LookupError(f"no release is called `{hash_}`")
                found = msgspec.structs.replace(release_for(self._region, manifest_of(stored)), beside=self.get)
            self._compiled[hash_] = found
            while len(self._compiled) > RELEASES_KEPT_MAX:
                self._compiled.pop(next(iter(self._compiled)))
            return found

    def _ready(self, hash_: str) -> Release:
        """INVARIANT: a cell that does not hold the whole log is not read; what rests on it is missing, and said so."""
        release = self.get(hash_)
        text = self._records.position(POSITION)
        lacking = frozenset[str]() if text is None else decode_coverage(text).incomplete(release.views.keys)
        if not lacking:
            return release
        views = release.views.withholding(lacking)
        return msgspec.structs.replace(
            release, views=views, brain=msgspec.structs.replace(release.brain, views=views)
        )


class Region:
    """Everything a door needs of one region. Crossing regions is impossible: a door is handed exactly one."""

    def __init__(
        self,
        *,
        name: str,
        records: Records,
        ledger: Ledger,
        vault: Vault,
        clock: Clock,
        pulse: Pulse,
        under_way_max: int = 512,
        warm: Callable[[], None] | None = None,
        couriers: Mapping[str, Courier] | None = None,
        scan: Scanner | None = None,
        readers: Callable[[ReaderSpec], FeatureReader] | None = None,
        shelf: Shelf | None = None,
        onnx: OnnxOf | None = None,
    ) -> None:
        self.name = name
        self.records = records
        self.ledger = ledger
        self.vault = vault
        self.clock = clock
        self.pulse = pulse
        self.warm = warm
        self.scan = scan
        self.registry = Registry(records, vault, clock, name, shelf or Nowhere())
        self.preparing = RLock()
        """Held by whoever changes which features are folded: backfills and promotions, one at a time."""
        self.gate = Gate(under_way_max)
        self.releases = Releases(records, name)
        self.drift = Drift(records, vault, clock, name, self.releases.live, self.releases.get)
        self.validate = Validate(
            records, clock, self.releases.live, self.releases.get, self.registry.newest_passed, onnx
        )
        self.refusals = Refusals(name, records, clock, self.regions)
        self.outgoing = Outgoing()
        self.ingest = Ingest(records, vault, clock, self.releases.live, self.outgoing, self.refusals)
        self.beliefs = Beliefs(records, clock, self.releases.live, self.releases.get)
        self.act = Act(records, vault, clock, self.releases.live, self.beliefs)
        self.answer = Answer(records, vault, clock, self.releases.live, self.act)
        self.merging = Merging(records, vault, clock, self.releases.live)
        self.personalize = Personalize(records, vault, clock, self.releases.live)
        self.breakers = Breakers(clock.tick_us)
        self.outside = OutsideReads(readers, self.breakers, clock.tick_us)
        self.scoring = Scoring(self.breakers, clock.tick_us)
        self.decide = Decide(
            records, vault, clock, self.gate, pulse, self.releases.brain, self.releases.brain_of, self.outside,
            self.scoring, self.breakers, SameKeys(), self.breakers.of_the_store(), self.beliefs,
        )  # fmt: skip
        self.send = Send(
            records, vault, clock, self.releases.live, self.releases.brain_of, self.act, self.outgoing, couriers or {}
        )

    def start(self) -> None:
        """Makes everything a decision needs ready, so that the first question is as fast as the rest."""
        brain = self.releases.live().brain
        self.beliefs.prepare()
        asked = Asked("warm-up", next(iter(brain.moments)), tuple(brain.channels))
        seen = see(brain, Person("warm-up"), None, asked.channels, self.clock.now_ms())
        shortlist(brain, asked, seen)
        # Nobody has refused anything here, and nothing is recorded: every candidate goes through arbitration.
        open_to_all = Shortlist((1 << len(brain.candidates)) - 1, ())
        result = choose(brain, asked, seen, open_to_all, score(brain, seen, usable=True), "warm-up", False)
        id_ = self.clock.new_id()
        record = DecisionRecord(RECORD_VERSION, id_, brain.release, self.name, asked, seen, (), (), result)
        encode_record(record)
        self.decide.granted([answer_of(brain, record, self.vault.sign)])
        self.outside.prepare(brain.views.outside)
        if brain.app.personalizer is not None:
            self.personalize.joined()
        if self.warm is not None:
            self.warm()

    def release(self, playbook: Playbook, cards: Sequence[Scorecard] = (), note: str = "") -> Release:
        """Makes and stores a release; it is not live yet."""
        return make_release(self.records, self.vault, self.clock, playbook, cards, note, self.name)

    def promote(
        self, hash_: str, actor: str, why: str, *, backfill: bool = True,
        tell: Tell = lambda done, end: None, rest: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Makes a stored release live, here and for whoever opens the region next.

        New features are backfilled from the log first; without that they are missing until a backfill is done.
        """
        self.releases.get(hash_)
        with self.preparing:
            prepare(self, hash_)
            if backfill:
                finish(self, hash_, tell, rest)
            also = share_from_now(self, hash_)
            promote(self.records, self.vault, self.clock, self.name, hash_, actor, why, also)
            self.releases.switch(hash_)
        self.start()

    def rollback(self, actor: str, why: str) -> str:
        """Back to the release that was live before; returns its hash. It is kept up to date, so that this takes no
        backfill; further back, features that were retired are missing until one is done."""
        hash_ = before_live(self.records)
        self.promote(hash_, actor, why, backfill=False)
        return hash_

    def replay(self, id_: str, release: str | None = None) -> Replayed:
        return replay(self.records, self.releases.brain_of, id_, release)

    def regions(self) -> tuple[str, ...]:
        """All regions the live release knows of, this one among them; what they hold cannot be reached from here."""
        try:
            return self.releases.live().playbook.app.every_region
        except NotReady:
            return (self.name,)

    def close(self) -> None:
        """Publishes what is recorded and lets go of the stores."""
        self.outside.close()
        self.scoring.close()
        try:
            self.refusals.flush(final=True)
            self.ledger.publish()
        finally:
            self.records.close()
