"""Which account a customer belonged to when a signal came: for whoever folds the log again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from opportune.ports import Merge, Records, StoredSignal

KNOWN_MAX: Final = 10_000
"""Customers whose accounts are remembered at a time; whoever falls out is looked up again."""
PAGE: Final = 1_000

_When = tuple[int, int]
"""(received_ms, place in the log)"""
_Changes = tuple[list[_When], list[str | None]]
"""When a customer's account changed, and what to; in order."""


class AccountsThen:
    """As live signals found it: the account a signal names, else the one its customer had said last, through merges."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[str, _Changes] = {}

    def account(self, stored: StoredSignal) -> str | None:
        """The account that a signal of the log was folded into; None when its customer had none."""
        signal = stored.signal
        if signal.account is not None or signal.customer is None:
            return signal.account
        times, accounts = self._changes(signal.customer)
        place = bisect_right(times, (signal.received_ms, stored.seq))
        return accounts[place - 1] if place else None

    def _changes(self, customer: str) -> _Changes:
        found = self._known.pop(customer, None)
        if found is None:
            found = changes_of(self._records, customer)
        self._known[customer] = found
        while len(self._known) > KNOWN_MAX:
            self._known.pop(next(iter(self._known)))
        return found


def changes_of(records: Records, customer: str) -> _Changes:
    """Every change of the account of `customer`, from the log and the merges, undone ones too."""
    merges = _family(records, customer)
    members = {customer, *(one.kept for one in merges.values()), *(one.merged for one in merges.values())}
    said = _said(records, sorted(members))
    events: list[tuple[_When, int, StoredSignal | Merge]] = [((s.signal.received_ms, s.seq), 2, s) for s in said]
    for merge in merges.values():
        events.append(((merge.at_ms, 0), 0, merge))
        if merge.undone_ms is not None:
            events.append(((merge.undone_ms, 0), 1, merge))
    events.sort(key=lambda event: event[:2])
    replayed = _Replayed()
    times: list[_When] = []
    accounts: list[str | None] = []
    for when, kind, what in events:
        if isinstance(what, StoredSignal):
            assert what.signal.customer is not None
            replayed.say(what.signal.customer, what.signal.account, what.seq)
        elif kind == 0:
            replayed.merge(what)
        else:
            replayed.undo(what, members)
        now = replayed.accounts.get(replayed.living(customer))
        if now != (accounts[-1] if accounts else None):
            times.append(when)
            accounts.append(now)
    return times, accounts


class _Replayed:
    """The accounts of a few customers who were one at times."""

    def __init__(self) -> None:
        self.accounts: dict[str, str | None] = {}
        self._said: dict[str, tuple[int, str | None]] = {}
        self._into: dict[str, str] = {}

    def living(self, customer: str) -> str:
        while customer in self._into:
            customer = self._into[customer]
        return customer

    def say(self, customer: str, account: str | None, seq: int) -> None:
        self._said[customer] = seq, account
        self.accounts[self.living(customer)] = account

    def merge(self, merge: Merge) -> None:
        kept, gone = self.living(merge.kept), self.living(merge.merged)
        if kept != gone:
            self.accounts[kept] = self.accounts.get(kept) or self.accounts.get(gone)
            self._into[gone] = kept

    def undo(self, merge: Merge, members: set[str]) -> None:
        """Each of both has what was said under its own names last."""
        self._into.pop(merge.merged, None)
        for head in (self.living(merge.merged), self.living(merge.kept)):
            said = [self._said[one] for one in members if one in self._said and self.living(one) == head]
            self.accounts[head] = max(said)[1] if said else None


def _family(records: Records, customer: str) -> Mapping[str, Merge]:
    """Every merge that ever made somebody the same as this customer."""
    found: dict[str, Merge] = {}
    seen, waiting = {customer}, [customer]
    while waiting:
        for merge in records.merges_of(waiting.pop()):
            found[merge.id] = merge
            for other in (merge.kept, merge.merged):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
    return found


def _said(records: Records, members: Sequence[str]) -> list[StoredSignal]:
    """Signals of these customers that named an account, in the order of the log; of one customer just the changes."""
    found: list[StoredSignal] = []
    before: int | None = None
    while page := records.signals_of(members, PAGE, before):
        found += [stored for stored in page if stored.signal.account is not None]
        before = page[-1].seq
        if len(members) == 1:  # of two that the same was said of, the older one
            pairs = zip(found, [*found[1:], None], strict=False)
            found = [one for one, older in pairs if older is None or older.signal.account != one.signal.account]
    return found[::-1]
