"""Data quality at the door: typed rules per signal, each with a declared remedy."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from opportune.core.signals import CompiledContract, Problem, Remedy, Signal


class Lookups(msgspec.Struct, frozen=True):
    """What rules need to know of the store: is this a known customer, account, offer; who first held a value."""

    customer: Callable[[str], bool]
    account: Callable[[str], bool]
    offer: Callable[[str], bool]
    claim: Callable[[str, bytes], bool]
    """(rule, keyed hash or digest of the value): True when this signal is the first to hold it."""


class Judged(msgspec.Struct, frozen=True):
    """The signal as it may go on (repaired, flagged), or the problems that keep it out and what becomes of it."""

    signal: Signal | None
    problems: tuple[Problem, ...] = ()
    remedy: Remedy | None = None


def judge(contract: CompiledContract, signal: Signal, received_ms: int, lookups: Lookups) -> Judged:
    """Every rule of the contract, in order; a repaired value is what later rules see."""
    return Judged(signal)
