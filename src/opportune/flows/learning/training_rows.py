"""Step 1 of learning: the signal log as examples, each with what was known at its instant and what came of it.

- **uplift**: every assignment; did the same customer or account then buy that offer?
- **acceptance**, **fatigue**: every offer that reached its customer; was it accepted, did it annoy?
- **value**: every offer that reached its customer and was bought; how much money was it?
- **churn_risk**: every customer of one kind, looked at regularly; did they then leave?
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opportune.core.customers import Account, Person
from opportune.core.durations import parse_duration_ms
from opportune.core.features import CompiledViews
from opportune.core.models import EVERY_OFFER, Example, LearnError, TrainingSet
from opportune.core.playbook import ModelSpec
from opportune.core.signals import Signal
from opportune.flows.ingest import fold
from opportune.flows.learning.decided import Assignment, beside_of
from opportune.ports import StoredSignal

LABELS: Mapping[str, tuple[str, ...]] = {
    "acceptance": ("offer.accepted",),
    "fatigue": ("offer.dismissed", "offer.complained", "consent.withdrawn"),
}
"""The signals that say that it happened, where the spec names none; a purchase is an acceptance as well."""

ROWS_MAX = 1_000_000
"""Of a target whose rows are customers looked at regularly: more would not fit in memory."""

Key = tuple[str, str]
Event = tuple[int, float]
"""When it happened, and how much money it brought."""


def training_set(
    signals: Iterable[StoredSignal],
    views: CompiledViews,
    spec: ModelSpec,
    decided: Sequence[Assignment] = (),
    left_out: Mapping[str, int] = {},
    tell: Callable[[int], None] = lambda count: None,
) -> TrainingSet:
    """The examples of a spec's target, from the log and from what was `decided` by the system itself.

    The log is replayed in time order (`at_ms`, then `seq`) through the fold that serves; `tell` hears of every signal.
    INVARIANT: values are read before the assignment itself, or anything after it, is folded. What came of it is
    looked for after it and within the label window; rows whose window is not over at the log's end are left out.
    Raises LearnError for a feature that nobody gives, and for a target that lacks its labels.
    """
    if spec.target == "churn_risk" and not spec.labels:
        raise LearnError(f"model `{spec.model}` must say in `labels` which signals mean that a customer left")
    window_ms = parse_duration_ms(spec.label_window)
    log = sorted(signals, key=lambda one: (one.signal.at_ms, one.seq))
    past = _Past(views, spec)
    for stored in log:
        past.take(stored.signal)
        tell(1)
    counted = Counter(left_out) + past.left_out
    rows = sorted([*past.found, *decided], key=lambda one: one.at_ms)
    end_ms = log[-1].signal.at_ms if log else 0
    examples = []
    for one in rows:
        if one.at_ms + window_ms > end_ms:
            counted["label window not over"] += 1
        elif example := _example(spec, one, past, window_ms, counted):
            examples.append(example)
    beside = beside_of(spec)
    return TrainingSet(
        spec.features,
        tuple(views.types[name] for name in spec.features),
        tuple(examples),
        window_ms,
        {views.features[name].view: views.features[name].version for name in spec.features},
        dict(counted),
        spec.target,
        tuple(beside),
        tuple(views.types[name] for name in beside),
    )


def labels_of(spec: ModelSpec) -> tuple[str, ...]:
    """The signal types that say that it happened."""
    if spec.target in ("uplift", "value"):
        return (spec.converted,)
    if spec.labels:
        return spec.labels
    return (*LABELS[spec.target], spec.converted) if spec.target == "acceptance" else LABELS[spec.target]


class _Past:
    """The log as it is replayed: who is who by now, the rows found so far, and what happened when."""

    def __init__(self, views: CompiledViews, spec: ModelSpec) -> None:
        self.views, self.spec = views, spec
        self.found: list[Assignment] = []
        self.left_out: Counter[str] = Counter()
        self.happened: dict[tuple[Key, str], list[Event]] = {}
        """By who, and of which offer ("" of none)."""
        self._people: dict[str, Person] = {}
        self._accounts: dict[str, Account] = {}
        self._labels = frozenset(labels_of(spec))
        self._places = _places(views, spec, spec.features)
        self._beside = _places(views, spec, beside_of(spec))
        self._every_ms, self._window_ms = parse_duration_ms(spec.every), parse_duration_ms(spec.label_window)
        self._next_ms = 0
        self._gone: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    def take(self, signal: Signal) -> None:
        """One signal more: the rows that fall before it, then what it says, then what it changes."""
        if self.spec.target == "churn_risk":
            self._look(signal.at_ms)
        person = None if signal.customer is None else self._people.get(signal.customer) or Person(signal.customer)
        account_id = signal.account or (None if person is None else person.account)
        account = None if account_id is None else self._accounts.get(account_id) or Account(account_id)
        if signal.type == self.spec.assigned and self.spec.target != "churn_risk":
            self._assigned(signal, account_id, person, account)
        if signal.type in self._labels:
            offer, amount = signal.data.get("offer"), signal.data.get("amount")
            money = float(amount) if isinstance(amount, float | int) and not isinstance(amount, bool) else 0.0
            for who in whom_of(signal.customer, account_id):
                named = offer if isinstance(offer, str) and self.spec.target != "churn_risk" else ""
                self.happened.setdefault((who, named), []).append((signal.at_ms, money))
        self._note(signal, account_id)
        person, account = fold(self.views, signal, person, account)
        if person is not None:
            self._people[person.id] = person
        if account is not None:
            self._accounts[account.id] = account

    def values(self, person: Person | None, account: Account | None, at_ms: int) -> tuple[tuple[Any, ...], ...]:
        """(the model's features, those beside) as they are read at an instant."""
        vector = self.views.read(
            None if person is None else person.features, None if account is None else account.features, at_ms
        )
        return tuple(vector.values[p] for p in self._places), tuple(vector.values[p] for p in self._beside)

    def _assigned(
        self, signal: Signal, account_id: str | None, person: Person | None, account: Account | None
    ) -> None:
        offer, treated = signal.data.get("offer"), signal.data.get("treated")
        chance = signal.data.get("action_probability", 1.0)
        if (
            not isinstance(offer, str) or not isinstance(treated, bool)
            or not isinstance(chance, float | int) or not 0.0 < chance <= 1.0
        ):  # fmt: skip
            self.left_out["malformed assignment"] += 1
            return
        values, beside = self.values(person, account, signal.at_ms)
        self.found.append(
            Assignment(signal.at_ms, signal.customer, account_id, offer, treated, float(chance), values, beside)
        )

    def _note(self, signal: Signal, account: str | None) -> None:
        """Who left, and who was heard of since."""
        id_ = account if self.spec.of == "account" else signal.customer
        if id_ is not None:
            told = self._gone if signal.type in self._labels else self._seen
            told[id_] = signal.at_ms

    def _look(self, at_ms: int) -> None:
        """A row for everybody at each instant that is due before `at_ms`: who is known, and has not left by then.

        Who left counts again once something is heard of them a label window later."""
        if not self._next_ms:
            self._next_ms = at_ms + self._every_ms
        while self._next_ms < at_ms:
            now_ms, self._next_ms = self._next_ms, self._next_ms + self._every_ms
            for id_, heard_ms in self._seen.items():
                gone_ms = self._gone.get(id_)
                if gone_ms is None or heard_ms > gone_ms + self._window_ms:
                    self._looked(id_, now_ms)

    def _looked(self, id_: str, now_ms: int) -> None:
        if len(self.found) >= ROWS_MAX:
            self.left_out[f"more than {ROWS_MAX} rows: look less often"] += 1
            return
        if self.spec.of == "account":
            person, account = None, self._accounts.get(id_)
        else:
            person = self._people.get(id_)
            account = self._accounts.get(person.account) if person is not None and person.account else None
        values, beside = self.values(person, account, now_ms)
        customer = None if person is None else id_
        account_id = id_ if self.spec.of == "account" else None
        self.found.append(Assignment(now_ms, customer, account_id, EVERY_OFFER, True, 1.0, values, beside))


def _places(views: CompiledViews, spec: ModelSpec, names: Sequence[str]) -> tuple[int, ...]:
    for name in names:
        if name not in views.features:
            raise LearnError(f"model `{spec.model}` asks for feature `{name}`, which no feature view gives")
    return tuple(views.features[name].index for name in names)


def whom_of(customer: str | None, account: str | None) -> list[Key]:
    """By whom something may have happened, as keys."""
    return [(kind, id_) for kind, id_ in (("person", customer), ("account", account)) if id_ is not None]


def _example(
    spec: ModelSpec, one: Assignment, past: _Past, window_ms: int, left_out: Counter[str]
) -> Example | None:
    """The row with what came of it; None where it is none of the target's."""
    uplift = spec.target == "uplift"
    if not uplift and not one.treated:
        left_out["not offered"] += 1
        return None
    if not one.reached and not uplift:
        left_out["did not reach its customer"] += 1
        return None
    event = first_event(spec, one, past.happened, window_ms)
    amount = 0.0 if event is None else event[1]
    if spec.target == "value" and amount <= 0.0:
        left_out["not bought" if event is None else "bought without an amount"] += 1
        return None
    probability = one.probability if uplift else 1.0
    unit = one.account or one.customer or ""
    return Example(one.at_ms, unit, one.offer, one.treated, probability, event is not None, one.values, amount,
                   one.beside)  # fmt: skip


def first_event(
    spec: ModelSpec, one: Assignment, happened: Mapping[tuple[Key, str], list[Event]], window_ms: int
) -> Event | None:
    """The first event of the target that follows within the window, of the same customer or account.

    One that names an offer counts for that offer; what annoys is told by the customer alone, whatever they say it of.
    """
    whom = whom_of(one.customer, one.account)
    if spec.target == "fatigue" and one.customer is not None:
        whom = whom[:1]
    offers = ("",) if spec.target == "churn_risk" else (one.offer, "") if spec.target == "fatigue" else (one.offer,)
    found = []
    for who in whom:
        for offer in offers:
            times = happened.get((who, offer), [])
            at = bisect_right(times, one.at_ms, key=lambda event: event[0])
            if at < len(times) and times[at][0] <= one.at_ms + window_ms:
                found.append(times[at])
    return min(found, default=None)

