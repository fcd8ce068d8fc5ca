"""A playbook and its next version, whose features are partly new; and two regions that are told the same."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec
from linked import linked_playbook

from opportune.core.customers import Account, Person
from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.playbook import Playbook
from opportune.core.signals import Draft
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock

Cells = Mapping[str, Mapping[str, bytes]]


def first_playbook() -> Playbook:
    return linked_playbook(limits=())


def next_playbook() -> Playbook:
    """The old feature stays; the person's view gains a window, and accounts are counted for the first time."""
    book = first_playbook()
    usage = book.views[0]
    more = FeatureSpec(
        id="used_7d", sources="usage.recorded", value="data.count", aggregate="sum", window="7d", type="int", default=0
    )
    busy = FeatureSpec(id="busy", derive="used_7d + used", type="int")
    account = FeatureView(
        view="company", version=1, entity="account", owner="tests", purposes=("marketing",),
        features=(
            FeatureSpec(id="company_used", sources="usage.recorded", value="data.count", aggregate="sum", type="int"),
            FeatureSpec(id="company_last", sources="usage.recorded", value="data.count", aggregate="last", type="int"),
        ),
    )  # fmt: skip
    usage = msgspec.structs.replace(usage, version=1, features=(*usage.features, more, busy))
    return msgspec.structs.replace(book, views=(usage, account))


def random_drafts(seed: int, count: int, names: str = "pqrst") -> list[tuple[int, Draft]]:
    """(ms to wait before, signal): usage with and without an account, and addresses that merge people."""
    chance = Random(seed)
    found = []
    for number in range(count):
        name, type_, account = chance.choice(names), "usage.recorded", None
        data: dict[str, Any] = {}
        if chance.random() < 0.85:
            data = {"count": chance.randint(1, 50)}
            account = chance.choice([None, None, None, "north", "south"])
        else:
            type_, data = "person.updated", {"email": f"m{chance.randint(1, 4)}@example.com"}
        wait_ms = chance.choice([1, 5, 3_600_000])
        found.append((wait_ms, Draft("tests", f"s{number}", type_, None, name, account, data=data)))
    return found


def tell_both(regions: tuple[Region, ...], told: tuple[int, Draft]) -> None:
    for region in regions:
        assert isinstance(region.clock, FrozenClock)
        region.clock.at_ms += told[0]
        assert region.ingest.run([told[1]])[0].status == "accepted"


def cells_of(region: Region, hash_: str) -> Cells:
    """Every cell of a release, of everybody and of every account."""
    keys = region.releases.get(hash_).views.keys
    found: dict[str, dict[str, bytes]] = {}
    entities: list[Person | Account] = [*region.records.people(), *region.records.accounts()]
    for entity in entities:
        cells: Mapping[str, Any] = {} if entity.features is None else entity.features.cells
        found[f"{type(entity).__name__} {entity.id}"] = {key: cell for key, cell in cells.items() if key in keys}
    return found
