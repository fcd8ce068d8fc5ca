"""The life of a release: made from a playbook and its models, promoted, rolled back; every step in the ledger.

1. encode playbook and models as a manifest; its hash is the release's name
2. compile it: what does not compile is never stored
3. store it once, with its ledger entry; a model that is not approved is refused, see `approve`
4. promote: move the live pointer, with who and why; rolling back is promoting the one before
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opportune.core.compatibility import changed
from opportune.core.customers import REGION_SUBJECT
from opportune.core.ledger import commitment, entry
from opportune.core.models import Scorecard
from opportune.core.playbook import Playbook
from opportune.core.registry import ModelEvent
from opportune.core.releases import Release, compile_release, decode_manifest, encode_manifest, release_hash
from opportune.flows.approve import unreleasable
from opportune.ports import Clock, Records, StoredRelease, Transaction, Vault


class GovernError(ValueError):
    """A step that cannot be taken, in words."""


def make_release(
    records: Records,
    vault: Vault,
    clock: Clock,
    playbook: Playbook,
    cards: Sequence[Scorecard] = (),
    note: str = "",
    region: str | None = None,
) -> Release:
    """Steps 1 to 3, for a region of the playbook (the home region when none is named). The same content gives the
    same release, stored once; GovernError for a playbook that does not name this region, and for a model that people
    have not approved."""
    # 1. encode
    manifest = encode_manifest(playbook, cards)
    # 2. compile
    release = release_for(region or playbook.app.region, manifest)
    _keep_versions(records, playbook)
    # 3. store
    _refuse_unapproved(cards, playbook, records.model_events, was_live=False)
    if records.release(release.hash) is None:
        stored = StoredRelease(release.hash, clock.now_ms(), note, manifest)
        records.run(lambda tx: _store(tx, vault, release, stored))
    return release


def _keep_versions(records: Records, playbook: Playbook) -> None:
    """Refuses a schema that was changed under the number it was released with: the log holds data of the old one."""
    live = records.live()
    stored = None if live is None else records.release(live)
    if stored is None or release_hash(stored.manifest) != stored.hash:
        return
    released = {
        (one.signal, one.version): one.schema for one in decode_manifest(stored.manifest).playbook.contracts
    }
    for contract in playbook.contracts:
        before = released.get((contract.signal, contract.version))
        if before is not None and changed(before, contract.schema):
            raise GovernError(
                f"the schema of `{contract.signal}` differs from the one live as version {contract.version}: keep that "
                f"one as it is and add this one as version {contract.version + 1}"
            )


def _refuse_unapproved(
    cards: Sequence[Scorecard], playbook: Playbook, events_of: Callable[[str], Sequence[ModelEvent]], *, was_live: bool
) -> None:
    why = unreleasable(cards, playbook, events_of, was_live=was_live)
    if why is not None:
        raise GovernError(why)


def manifest_of(stored: StoredRelease) -> bytes:
    """The bytes of a stored release; GovernError when they are not what its name says."""
    if release_hash(stored.manifest) != stored.hash:
        raise GovernError(
            f"release `{stored.hash}` was altered in the store after it was made, and is not used: restore a backup of "
            "the store, or make the release again with `opportune release` and promote that"
        )
    return stored.manifest


def release_for(region: str, manifest: bytes) -> Release:
    """A release compiled for the region it is to be at work in; GovernError when it was not made for this one."""
    regions = decode_manifest(manifest).playbook.app.every_region
    if region not in regions:
        listed = ", ".join(f"`{one}`" for one in regions)
        raise GovernError(
            f"release `{release_hash(manifest)}` is for {listed} and cannot be used in region `{region}`: "
            "add it to `regions` of the playbook and make a new release"
        )
    return compile_release(manifest, region)


def promote(
    records: Records,
    vault: Vault,
    clock: Clock,
    region: str,
    hash_: str,
    actor: str,
    why: str,
    also: Callable[[Transaction], None] = lambda tx: None,
) -> None:
    """Step 4: makes a stored release the live one; GovernError when there is no such release, when it was altered, or
    when it holds a model that is not approved (any more) and was not live before. `also` is part of the same unit."""
    stored = records.release(hash_)
    if stored is None:
        known = ", ".join(release.hash for release in records.releases()) or "none"
        raise GovernError(f"no release is called `{hash_}`: there are {known}")
    parts = decode_manifest(manifest_of(stored))
    was_live = any(one[1] == hash_ for one in records.live_history())
    at_ms = clock.now_ms()

    def work(tx: Transaction) -> None:
        _refuse_unapproved(parts.cards, parts.playbook, tx.model_events, was_live=was_live)
        tx.set_live(hash_, at_ms, actor, why)
        also(tx)
        tx.append_leaf(
            entry(
                entry_id=clock.new_id(),
                ts_ms=at_ms,
                kind="promotion",
                region=region,
                actor=actor,
                release=hash_,
                commit=commitment(vault.commit_salt(f"promotion/{hash_}/{at_ms}", REGION_SUBJECT), why.encode()),
            )
        )

    records.run(work)


def before_live(records: Records) -> str:
    """The release that was live before the current one: what rolling back promotes. GovernError without one."""
    path: list[str] = []
    for _, hash_, _, _ in reversed(records.live_history()):
        # Going back to a release leaves behind what came after it: twice back is two releases back.
        path = [*path[: path.index(hash_)], hash_] if hash_ in path else [*path, hash_]
    if len(path) < 2:
        raise GovernError("there is no earlier release to go back to")
    return path[-2]


def _store(tx: Transaction, vault: Vault, release: Release, stored: StoredRelease) -> None:
    tx.put_release(stored)
    tx.append_leaf(
        entry(
            entry_id=f"release-{release.hash}",
            ts_ms=stored.created_ms,
            kind="release",
            region=release.region,
            actor="govern",
            release=release.hash,
            commit=commitment(vault.commit_salt(f"release/{release.hash}", REGION_SUBJECT), stored.manifest),
        )
    )
