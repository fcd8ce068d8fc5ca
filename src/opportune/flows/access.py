"""The access log: who read what about whom, written before the answer, in the records and in the ledger.

1. note: one Access row, sealed under the person's key, gone with the person
2. ledger: one entry that names nobody: who read, what kind of thing, and a commitment to the row
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec

from opportune.core.customers import REGION_SUBJECT, person_subject
from opportune.core.ledger import commitment, entry
from opportune.flows.suppress import KIND
from opportune.ports import Access, Clock, Records, Transaction, Vault

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.:/+=~-]+")


class Gone(LookupError):
    """The customer was erased in the meantime: there is nothing to read."""


def seen_by(
    records: Records,
    vault: Vault,
    clock: Clock,
    region: str,
    actor: str,
    what: str,
    customer: str | None,
    classes: Collection[str] = (),
    purpose: str = "",
) -> str:
    """Writes down that `actor` reads `what` about a customer (None: it names nobody); returns the row's id.

    `what` is a code such as `customer`, `decision`, `export`, `quarantine`; `classes` are the field classes shown in
    clear; `purpose` is what the reader said it is for. Call it before the answer leaves: it returns when it is
    durable. Raises Gone when the customer was erased, StoreFull and StoreBroken as every unit.
    """
    return seen_together(records, vault, clock, region, actor, what, (customer,), classes, purpose)[0]


def seen_together(
    records: Records,
    vault: Vault,
    clock: Clock,
    region: str,
    actor: str,
    what: str,
    customers: Sequence[str | None],
    classes: Collection[str] = (),
    purpose: str = "",
) -> list[str]:
    """`seen_by` for one answer about several customers, in one unit; whoever was erased raises Gone for all."""
    at_ms, who = clock.now_ms(), actor_code(actor)
    shown = tuple(sorted(classes))
    rows = [Access(clock.new_id(), at_ms, who, what, one or "", shown, purpose) for one in customers]

    def work(tx: Transaction) -> list[str]:
        for row in rows:
            _note(tx, vault, region, row)
        return [row.id for row in rows]

    return records.run(work)


def actor_code(actor: str) -> str:
    """The name of a key or session as the ledger takes it: letters, digits and a few signs, at most 64 of them."""
    code = _NOT_IN_A_NAME.sub("-", actor).strip("-.:/+=~_")[:64]
    return code or "unknown"


def _note(tx: Transaction, vault: Vault, region: str, row: Access) -> None:
    # 1. note
    known = not row.customer or tx.person(row.customer) is not None
    if not known and tx.suppressed(vault.identifier(KIND, row.customer)):
        # INVARIANT: nothing is written about whoever was erased; a key made now would outlive the erasure.
        raise Gone("this customer was erased: nothing is known about them any more")
    tx.put_access(row)
    # 2. ledger
    subject = person_subject(row.customer) if row.customer else REGION_SUBJECT
    salt = vault.commit_salt(f"access/{row.id}", subject)
    tx.append_leaf(
        entry(
            entry_id=row.id, ts_ms=row.at_ms, kind="access", region=region, actor=row.actor,
            commit=commitment(salt, msgspec.json.encode(row)), codes={"what": row.what},
        )
    )  # fmt: skip
