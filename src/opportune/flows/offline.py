"""The log as the offline engine takes it: whose each signal was, also through merges, and what was known when."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping

import msgspec

from opportune.core.builtin_contracts import with_builtins
from opportune.core.features.relational import Fact, Relational, relational_of
from opportune.core.playbook import Playbook
from opportune.core.releases import Release
from opportune.core.schemas import fields_by_signal
from opportune.flows.ingest import newest
from opportune.flows.then import AccountsThen
from opportune.ports import Records, StoredSignal


class Arrivals:
    """The order in which signals became durable; filled while the log is read, asked afterwards."""

    def __init__(self) -> None:
        self._seqs: list[int] = []
        self._leaves: list[int] = []
        self._received_ms: list[int] = []
        self._accounts: dict[str, list[tuple[int, int, str]]] = {}

    def note(self, stored: StoredSignal) -> None:
        signal = stored.signal
        if signal.customer is not None and signal.account is not None:
            told = self._accounts.setdefault(signal.customer, [])
            if not told or told[-1][2] != signal.account or signal.at_ms < told[-1][0]:
                told.append((signal.at_ms, stored.seq, signal.account))
        self._seqs.append(stored.seq)
        self._leaves.append(stored.leaf)
        self._received_ms.append(stored.signal.received_ms)

    def known(self, at_ms: int, leaf: int) -> int:
        """The last signal that a decision of this instant and place in the ledger can have seen; 0 for none."""
        place = len(self._seqs)
        if leaf >= 0 and self._leaves and self._leaves[-1] >= 0:
            place = bisect_left(self._leaves, leaf)
        while place and self._received_ms[place - 1] > at_ms:
            place -= 1
        return self._seqs[place - 1] if place else 0

    def account_at(self, customer: str | None, at_ms: int) -> str | None:
        """The account a customer had named last by then, in the order in which it happened."""
        told = [one for one in self._accounts.get(customer or "", ()) if one[0] <= at_ms]
        return max(told)[2] if told else None

    def gaps(self) -> bool:
        """Whether signals are gone from the log: somebody was erased."""
        return bool(self._seqs) and self._seqs[-1] != len(self._seqs)

    def received_by(self, at_ms: int) -> int:
        """The last signal received by then."""
        place = len(self._seqs)
        while place and self._received_ms[place - 1] > at_ms:
            place -= 1
        return self._seqs[place - 1] if place else 0


def form_of(release: Release) -> Relational:
    """The relational form of a release's features, from its own documents."""
    return relational_of(release.views, payload_fields(release.playbook))


def payload_fields(playbook: Playbook) -> Mapping[str, Mapping[str, str]]:
    """The fields that a playbook's views are compiled with."""
    return fields_by_signal(with_builtins(playbook.contracts))


def facts_of(
    records: Records, release: Release, customers: Collection[str] = (), arrivals: Arrivals | None = None
) -> Iterator[Fact]:
    """Every signal that the release's features read, as the fold took it; `arrivals` is told about all signals.

    Of these customers, who were merged with others: a signal of who lives on in them counts for them from the merge
    on, and so comes once more, as if it had arrived then.
    """
    wanted = {signal for feature in release.views.features.values() for signal in feature.signals}
    then = AccountsThen(records)
    merged = merges_into(records, customers)
    pending: dict[str, list[tuple[int, str]]] = {}
    for gone, kept, at_ms in merged:
        pending.setdefault(gone, []).append((at_ms, kept))
    waiting: list[tuple[int, str, Fact]] = []
    last = 0
    for stored in newest(records.signals(), release.contracts):
        if arrivals is not None:
            arrivals.note(stored)
        last = stored.seq
        due = [one for one in waiting if one[0] < stored.signal.received_ms]
        if due:
            waiting = [one for one in waiting if one[0] >= stored.signal.received_ms]
            yield from (_again(fact, kept, stored.seq - 1) for _, kept, fact in due)
        if stored.signal.type not in wanted:
            continue
        fact = fact_of(stored, then.account(stored))
        yield fact
        for at_ms, kept in pending.get(fact.person or "", ()):
            if at_ms < stored.signal.received_ms:
                yield _again(fact, kept, stored.seq)
            else:
                waiting.append((at_ms, kept, fact))
    yield from (_again(fact, kept, last) for _, kept, fact in waiting)


def fact_of(stored: StoredSignal, account: str | None) -> Fact:
    """A sender's clock may run ahead: what it says happened no later than it was received."""
    signal = stored.signal
    at_ms = min(signal.at_ms, signal.received_ms)
    return Fact(stored.seq, signal.type, signal.id, at_ms, signal.customer, account, signal.data)


def _again(fact: Fact, customer: str, seq: int) -> Fact:
    return msgspec.structs.replace(fact, seq=max(fact.seq, seq), person=customer, account=None)


def merges_into(records: Records, customers: Collection[str]) -> list[tuple[str, str, int]]:
    """(who was merged, one of these customers in whom they live on, when), for merges nobody has undone."""
    found = []
    for customer in customers:
        seen = {customer}
        todo = [(customer, 0)]
        while todo:
            kept, since_ms = todo.pop()
            for merge in records.merges_of(kept):
                if merge.kept == kept and merge.undone_ms is None and merge.merged not in seen:
                    seen.add(merge.merged)
                    at_ms = max(since_ms, merge.at_ms)
                    found.append((merge.merged, customer, at_ms))
                    todo.append((merge.merged, at_ms))
    return found
