"""Flags on the decision page: what rule was broken, by how many signals, how old, and what it may have touched."""

from __future__ import annotations

import msgspec
from litestar.testing import TestClient
from scene import DAY_MS, Scene

from opportune.core.signals import QualityRule, SignalContract
from opportune.doors.cli.case import case_of
from opportune.views import decision_view

FLAGS = (
    ("account", "share_known", "usage", 3 * DAY_MS, 4),
    ("person", "ticket_once", "ticket", 5 * 3_600_000, 1),
    ("account", "left_since", "page", DAY_MS, 2),
)
USAGE = SignalContract(
    signal="usage", owner="product", class_="personal",
    schema={"type": "object", "properties": {"share": {"type": "number", "class": "public"}}},
    quality=(QualityRule(rule="share_known", kind="range", field="share", min=0, max=1, remedy="repair"),),
)  # fmt: skip
TICKET = SignalContract(
    signal="ticket", owner="support",
    schema={"type": "object", "properties": {"ticket": {"type": "string"}}},
    quality=(QualityRule(rule="ticket_once", kind="uniqueness", fields=("ticket",), remedy="accept_and_flag"),),
)  # fmt: skip


def flag(scene: Scene) -> str:
    """A decision that saw three flags."""
    contracts = {one.signal: one for one in (USAGE, TICKET)}
    scene.brain = msgspec.structs.replace(scene.brain, contracts=contracts)
    return scene.decide("ada", flags=FLAGS)


def test_the_view_names_rule_age_count_features_owner_and_class(scene: Scene) -> None:
    view = decision_view(scene.records, scene.ledger, scene.pulse, scene.brain_of, flag(scene))
    assert view is not None
    ticket, left, share = view.flags
    assert (share.rule, share.signal, share.age_ms, share.count) == ("share_known", "usage", 3 * DAY_MS, 4)
    assert (share.owner, share.class_, share.repaired) == ("product", "public", True)
    assert set(share.features) == {"seats_used_share", "usage_trend", "active_days_7d"}
    assert (ticket.broken, ticket.features) == ("ticket must not have come before", ("open_tickets",))
    # The feature that rests on page views is a person's: an account's flag does not touch it.
    assert (left.features, left.owner, left.broken) == ((), "", "a rule this release does not have any more")


def test_the_page_and_the_terminal_say_it(scene: Scene) -> None:
    id_ = flag(scene)
    client = TestClient(scene.app())
    with client:
        client.get(f"/console?t={scene.sessions.invite()}")
        text = client.get(f"/console/decisions/{id_}").text
        plain = client.get(f"/console/decisions/{scene.decide('grace')}").text
    assert "Quality of the data it used" in text
    for said in ("share must be from 0 to 1", "share_known", "seats_used_share", "product", "put right", "support"):
        assert said in text
    assert "Quality of the data it used" not in plain

    from rich.console import Console

    view = decision_view(scene.records, scene.ledger, scene.pulse, scene.brain_of, id_)
    assert view is not None
    terminal = Console(width=400, record=True, quiet=True)
    with terminal.capture() as caught:
        terminal.quiet = False
        terminal.print(case_of(view))
    printed = caught.get()
    assert "quality of the data it used" in printed
    assert (
        "1 signal ticket of the person was accepted all the same (5 hours old): rule ticket_once, ticket must not have "
        "come before; may affect open_tickets (owner support, class internal)" in printed
    )
