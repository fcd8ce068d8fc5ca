"""Whoever was erased does not come back: keyed hashes of their ids and identifiers are remembered, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from opportune.core.customers import Identifier
from opportune.core.identity import identifier_in
from opportune.core.signals import Draft, Problem, Signal
from opportune.flows.identify import customer_id
from opportune.ports import Transaction, Vault

KIND: Final = "customer"
"""The kind under which the id of a customer who was erased is hashed."""

LEAVES_MAX: Final = 256
ERASED: Final = Problem(
    "erased",
    "subject",
    "this customer was erased and is not taken in again: nothing of this was kept; stop sending their data",
)


def hashes_of(vault: Vault, ids: Iterable[str], identifiers: Iterable[Identifier]) -> list[bytes]:
    """Everything that an erased customer may be called by, as keyed hashes, each once.

    A value of one system is remembered as a value of any: what comes malformed does not say whose it is.
    """
    found: dict[bytes, None] = {}
    for id_ in ids:
        found.update(dict.fromkeys(_of_id(vault, id_)))
    for one in identifiers:
        found[one.hash] = None
        found[vault.identifier("external", one.value)] = None
    return list(found)


def was_erased(tx: Transaction, vault: Vault, signal: Signal, identifiers: Sequence[Identifier]) -> bool:
    """Is this signal about a customer who was erased? Whoever is known now is not asked about: it costs nothing."""
    if signal.customer is None:
        return any(tx.suppressed(one.hash) and tx.customer_by(one.hash) is None for one in identifiers)
    if tx.person(signal.customer) is not None:
        return False
    if any(tx.suppressed(one) for one in _of_id(vault, signal.customer)):
        return True
    return any(tx.suppressed(one.hash) for one in identifiers)


def names_erased(tx: Transaction, vault: Vault, draft: Draft) -> bool:
    """Does a draft that cannot be trusted name a customer who was erased, as its subject or anywhere in its data?"""
    if isinstance(draft.subject, str) and draft.subject:
        if tx.person(customer_id(vault, draft.subject)) is not None:
            return False
        if any(tx.suppressed(one) for one in _of_id(vault, draft.subject)):
            return True
    return any(tx.suppressed(one) for text in texts_of(draft.data, LEAVES_MAX) for one in _of_id(vault, text))


def texts_of(value: object, most: int) -> list[str]:
    """The texts in a JSON value, at most so many."""
    found: list[str] = []
    for text in _texts(value, 0):
        found.append(text)
        if len(found) >= most:
            break
    return found


def _of_id(vault: Vault, text: str) -> Iterator[bytes]:
    """What a text may have been hashed as, were it the id or an identifier of somebody."""
    yield vault.identifier(KIND, customer_id(vault, text))
    named = identifier_in(text)
    if named is not None:
        yield vault.identifier(*named)
    yield vault.identifier("external", text)


def _texts(value: object, depth: int) -> Iterator[str]:
    if depth > 32:
        return
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item, depth + 1)
