"""Makes sure that a release is live before there is work to do, and says which."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opportune.core.models import Scorecard
    from opportune.core.playbook import Playbook
    from opportune.doors.cli.workbench import Place, Workbench
    from opportune.flows.region import Region


def ensure_live(bench: Workbench, place: Place, region: Region, tell: Callable[[str], None]) -> None:
    """The live release, ready; with none, the first is made from the playbook and promoted, and that is said."""
    if region.records.live() is None:
        playbook = bench.load(place.folder)
        made, cards = release_of(region, playbook, "the first release")
        region.promote(made, actor(), "the first release, made because none was live")
        with_models = f" with {', '.join(card.model for card in cards)}" if cards else ", without a model yet"
        tell(f"no release was live: made and promoted {made} from the playbook{with_models}")
        return
    region.start()
    if (other := changed(bench, place, region)) is not None:
        tell(other)


def release_of(
    region: Region, playbook: Playbook, note: str, pinned: Sequence[str] = ()
) -> tuple[str, Sequence[Scorecard]]:
    """A release of the playbook with the newest approved card of each of its models, or with those that are `pinned`,
    by hash; it is not live yet."""
    registry = region.registry
    try:
        registry.releasable(playbook)
    finally:
        # Also when one was altered: that is put on record, and the release is not made.
        registry.take_in()
    wanted = {card.model: card for card in (registry.card(registry.named(one)) for one in pinned)}
    for card in registry.releasable(playbook, tuple(wanted)):
        wanted.setdefault(card.model, card)
    order = [spec.model for spec in playbook.models]
    cards = sorted(wanted.values(), key=lambda card: order.index(card.model) if card.model in order else len(order))
    return region.release(playbook, cards, note).hash, cards


def changed(bench: Workbench, place: Place, region: Region) -> str | None:
    """A sentence when the folder says something else than the live release; a folder that is broken is silent."""
    from opportune.core.releases import encode_manifest, release_hash

    live = region.releases.live()
    try:
        playbook = bench.load(place.folder)
    except ValueError:
        return f"the playbook has problems and is not used: {live.hash} stays live, run `opportune check`"
    if release_hash(encode_manifest(playbook, live.cards)) == live.hash:
        return None
    return f"the playbook differs from the live release {live.hash}: `opportune release` makes one of it"


def actor() -> str:
    """Who works here, as the ledger takes it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = ""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).strip("-.")[:64] or "cli"
