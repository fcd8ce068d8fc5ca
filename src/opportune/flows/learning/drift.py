"""Drift of what is live: the system's own decisions and what became of them, held against the training snapshots.

1. take up decisions, and answers whose label window is over, from where the last look ended
2. look: a full window of either is measured (core/drift)
3. keep: report, place and, with an alarm, its ledger entry and the cases that follow, in one transaction
4. follow: what is to be done without a person (flows/drift_cases)

A look that is interrupted leaves nothing; the next one begins at the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec

from opportune.core.customers import REGION_SUBJECT
from opportune.core.drift import (
    Measured,
    Report,
    Series,
    Watched,
    against,
    alarm_of,
    decode_report,
    disagreement,
    encode_report,
    look_at_answers,
    look_at_inputs,
    watched,
)
from opportune.core.drift.cases import CaseKind, DriftCase, decode_case, encode_case, news, opened
from opportune.core.drift.watch import SCALES
from opportune.core.ledger import commitment, entry
from opportune.core.models import Scorecard, card_hash
from opportune.core.models.disagreement import decode_disagreement
from opportune.core.playbook import ModelSpec
from opportune.core.releases import Release, decode_manifest
from opportune.flows.learning.drift_rows import (
    SETTLED_MS,
    Place,
    answers_after,
    decided_after,
    decode_place,
    encode_place,
    seen_rows,
    sees,
)
from opportune.flows.learning.training_rows import labels_of
from opportune.ports import Clock, Records, StoredDrift, Transaction, Vault

CASES_MAX = 10_000
DAYS_MAX = 400
NAME_DIGITS = 12
DISAGREEMENTS_ENOUGH = 500
"""Answers at which heavier models were asked, as the usual share: the first of a card."""
ID_DIGITS = 12
Live = Callable[[], Release]
ByHash = Callable[[str], Release]


class Looked(msgspec.Struct, frozen=True):
    """What a check did: the reports it made, the cases it opened, and what is not watched and why."""

    reports: tuple[Report, ...] = ()
    cases: tuple[DriftCase, ...] = ()
    not_watched: tuple[tuple[str, str], ...] = ()
    waiting: tuple[tuple[str, int], ...] = ()
    """Per model, how many decisions wait for a window to be full."""


class _Look(NamedTuple):
    """A report, the place from which it was made, as it is kept, and the one after it."""

    report: Report
    before: str | None
    after: Place


class Drift:
    """Watches the cards of the live release of one region."""

    def __init__(
        self, records: Records, vault: Vault, clock: Clock, region: str, live: Live, release_of: ByHash
    ) -> None:
        self._records, self._vault, self._clock, self._region = records, vault, clock, region
        self._live, self._release_of = live, release_of
        self._carried: dict[str, frozenset[str]] = {}

    def check(
        self, model: str | None = None, *, early: bool = False, rest: Callable[[], None] = lambda: None
    ) -> Looked:
        """Every full window since the last check, of one model or all; `early` closes windows that are not full but
        have the least number of decisions. LookupError for a model that is not live."""
        release = self._live()
        if model is not None and model not in {card.model for card in release.cards}:
            named = ", ".join(f"`{card.model}`" for card in release.cards) or "none"
            raise LookupError(f"no model called `{model}` is live: the live release holds {named}")
        specs = {spec.model: spec for spec in release.playbook.models}
        found = Looked()
        for card in release.cards:
            if model not in (None, card.model):
                continue
            spec = specs.get(card.model)
            why = _unwatchable(card, spec)
            if spec is None or why:
                found = msgspec.structs.replace(found, not_watched=(*found.not_watched, (card.model, why)))
                continue
            if types := _unheard(spec, release):
                why = f"its answers are not: the playbook has no schema for {types}, so that none can be heard of"
                found = msgspec.structs.replace(found, not_watched=(*found.not_watched, (card.model, why)))
            found = self._watch(found, card, spec, release, early, rest)
        return found

    def reports(self, last: int, *, model: str | None = None, series: Series | None = None) -> list[Report]:
        """The newest first."""
        return [decode_report(one.body) for one in self._records.drift("report", last, model=model, status=series)]

    def cases(self, last: int = CASES_MAX, *, model: str | None = None, status: str | None = None) -> list[DriftCase]:
        """The newest first."""
        return [decode_case(one.body) for one in self._records.drift("case", last, model=model, status=status)]

    def _watch(
        self, found: Looked, card: Scorecard, spec: ModelSpec, release: Release, early: bool, rest: Callable[[], None]
    ) -> Looked:
        name = card_hash(card)
        watch = watched(name, card, spec.drift)
        looks = (
            partial(self._inputs, watch, early=early),
            partial(self._answers, watch, spec, release, early=early),
        )
        waiting = 0
        for look in looks:
            while True:
                one, waits = look()
                waiting = max(waiting, waits)
                if one is None:
                    break
                kept = self._keep(one, watch)
                if kept is not None:
                    cases = (*found.cases, *kept)
                    found = msgspec.structs.replace(found, reports=(*found.reports, one.report), cases=cases)
                rest()
        return msgspec.structs.replace(found, waiting=(*found.waiting, (card.model, waiting)))

    def _inputs(self, watch: Watched, *, early: bool) -> tuple[_Look | None, int]:
        """The next window of inputs, or None and how many decisions wait."""
        before, place = self._place(watch.name)
        until_ms = self._clock.now_ms() - SETTLED_MS
        carries = partial(self._carries, watch.name)
        decisions = filter(sees, decided_after(self._records, place.decision, until_ms, carries))
        some = list(islice(decisions, watch.policy.window))
        full = len(some) == watch.policy.window
        if not full and not (early and len(some) >= watch.policy.look_early):
            return None, len(some)
        rows = seen_rows(some, [table.name for table in watch.card.features])
        look = place.inputs + 1
        more = self._disagreements(watch, rows.from_ms)
        at_ms = self._clock.now_ms()
        report = look_at_inputs(self._referred(watch, "inputs"), rows, look, at_ms, more, early=not full)
        return _Look(report, before, msgspec.structs.replace(place, decision=some[-1].id, inputs=look)), 0

    def _answers(
        self, watch: Watched, spec: ModelSpec, release: Release, *, early: bool
    ) -> tuple[_Look | None, int]:
        """Likewise of answers; a card that gives amounts has none that are right or wrong."""
        if watch.card.form == "amount" or _unheard(spec, release):
            return None, 0
        before, place = self._place(watch.name)
        share = release.playbook.app.holdout.share
        found = answers_after(
            self._records, spec, watch.card, place, self._clock.now_ms(), watch.policy.answers,
            partial(self._carries, watch.name), lambda hash_: self._release_of(hash_).brain, share,
        )  # fmt: skip
        if found is None:
            return None, 0
        count, look = len(found.rows.offers), place.answers + 1
        full = count >= watch.policy.answers
        if not full and not (early and count >= watch.policy.look_early):
            return None, 0
        at_ms = self._clock.now_ms()
        past = self._past(watch.name, look)
        report = look_at_answers(self._referred(watch, "answers"), found.rows, look, at_ms, past, early=not full)
        after = msgspec.structs.replace(place, answered=found.last, answers=look, signal=found.signal)
        return _Look(report, before, after), 0

    def _disagreements(self, watch: Watched, from_ms: int) -> list[Measured]:
        """How often heavier models had another offer first since then, against the first days of the card."""
        name = f"{watch.card.model}@{watch.name[:NAME_DIGITS]}"
        days = [decode_disagreement(one.body) for one in self._records.drift("disagreement", DAYS_MAX, model=name)]
        before, now = (0, 0), (0, 0)
        for day in reversed(days):
            if day.to_ms >= from_ms:
                now = now[0] + day.other_best, now[1] + day.decisions
            elif before[1] < DISAGREEMENTS_ENOUGH:
                before = before[0] + day.other_best, before[1] + day.decisions
        found = disagreement(watch, before, now)
        return [] if found is None else [found]

    def _past(self, name: str, look: int) -> list[Report]:
        """The windows of answers before this look that it may go on from, the newest last."""
        ids = [f"{name}/answers/{one:06d}" for one in range(max(1, look - max(SCALES)), look)]
        found = self._records.run(lambda tx: [tx.drift(id_) for id_ in ids])
        return [decode_report(one.body) for one in found if one is not None]

    def _referred(self, watch: Watched, series: Series) -> Watched:
        """Held against the first window, where the policy says so and there is one."""
        if watch.policy.reference == "training":
            return watch
        first = self._records.run(lambda tx: tx.drift(f"{watch.name}/{series}/{1:06d}"))
        return watch if first is None else against(watch, decode_report(first.body))

    def _keep(self, look: _Look, watch: Watched) -> tuple[DriftCase, ...] | None:
        """Step 3: the cases that follow; None when another check has kept this window meanwhile."""
        report = look.report
        is_reference = report.look == 1 and watch.policy.reference == "first_window"
        alarm = None if is_reference else alarm_of(report, watch.policy)
        signs = tuple(f"{one.kind}/{one.what}/{one.segment}" for one in report.found)
        cases = self.cases(model=report.model)
        kinds: tuple[CaseKind, ...] = ()
        if alarm is not None and alarm.action != "flag":
            kinds = ("fall_back", "retraining") if alarm.action == "fall_back" else ("retraining",)
        made = tuple(
            opened(kind, report.model, report.card, report.id, alarm.words, signs, report.at_ms)
            for kind in kinds
            if alarm is not None and news(signs, [one for one in cases if one.card == report.card], kind)
        )

        def work(tx: Transaction) -> tuple[DriftCase, ...] | None:
            if tx.position(_key(report.card)) != look.before:
                return None
            tx.set_position(_key(report.card), encode_place(look.after))
            tx.put_drift(_stored_report(report, 0 if alarm is None else len(report.found)))
            if alarm is not None:
                self._leaf(tx, report)
            for case in made:
                tx.put_drift(stored_case(case))
            return made

        return self._records.run(work)

    def _leaf(self, tx: Transaction, report: Report) -> None:
        """An alarm in the ledger: which model, which window, how much was found; the words are committed to."""
        words = "\n".join(one.words for one in report.found).encode()
        salt = self._vault.commit_salt(f"drift/{report.id}", REGION_SUBJECT)
        tx.append_leaf(
            entry(
                entry_id=f"drift-{report.id.replace('/', '-')}", ts_ms=report.at_ms, kind="drift",
                region=self._region, actor="drift", commit=commitment(salt, words),
                codes={
                    "model": report.model, "card": report.card, "first": report.found[0].kind,
                    "found": len(report.found),
                },
            )
        )

    def _place(self, name: str) -> tuple[str | None, Place]:
        """Where the last look at a card ended, as it is kept and read; at first, when it went live."""
        text = self._records.position(_key(name))
        if text is not None:
            return text, decode_place(text)
        first_ms = min(
            (at_ms for at_ms, hash_, _, _ in self._records.live_history() if self._carries(name, hash_)), default=0
        )
        digits = f"{first_ms:0{ID_DIGITS}x}"
        start = f"{digits[:8]}-{digits[8:]}"
        return None, Place(start, start)

    def _carries(self, name: str, hash_: str) -> bool:
        """Whether a release holds the card with this name."""
        if hash_ not in self._carried:
            stored = self._records.release(hash_)
            cards = () if stored is None else decode_manifest(stored.manifest).cards
            self._carried[hash_] = frozenset(card_hash(card) for card in cards)
        return name in self._carried[hash_]


def stored_case(case: DriftCase) -> StoredDrift:
    return StoredDrift(
        case.id, case.opened_ms, "case", case.model, case.card, case.status, len(case.words), encode_case(case)
    )


def _stored_report(report: Report, alarms: int) -> StoredDrift:
    body = encode_report(report)
    return StoredDrift(report.id, report.at_ms, "report", report.model, report.card, report.series, alarms, body)


def _unwatchable(card: Scorecard, spec: ModelSpec | None) -> str:
    if spec is None:
        return "the playbook no longer describes it"
    if card.training.snapshot is None:
        return "it has no training snapshot: train it again"
    return ""


def _unheard(spec: ModelSpec, release: Release) -> str:
    """The signal types by which a model's answers are known, where the playbook takes none of them."""
    types = labels_of(spec)
    heard = {name for name, _ in release.contracts}
    return "" if heard & set(types) else ", ".join(f"`{one}`" for one in types)


def _key(name: str) -> str:
    return f"drift/{name}"
