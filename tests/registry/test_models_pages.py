"""The console's pages on models, read and used in a real browser: accessible, nothing blocked, decided by people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from artefacts import approved, card, move, playbook, region_at, spec
from chromium import NARROW, WIDE, behind_a_port, browser, grave, listen
from litestar import Litestar
from playwright.sync_api import Browser, Page, expect

from opportune.core.models.disagreement import Disagreement, encode_disagreement
from opportune.core.registry import Standing
from opportune.doors.console import ConsoleDeps, Sessions, console_handlers
from opportune.doors.http.keys import Keyring
from opportune.flows.region import Region
from opportune.ports import StoredDrift

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

KEYS = {name: f"a-key-of-{name}-that-nobody-guesses" for name in ("ada", "dana", "lee")}


class Shown:
    """A console over a region with a live model, one that waits for two people, and one that failed."""

    def __init__(self, region: Region, sessions: Sessions, browser: Browser, address: str) -> None:
        self.region, self.sessions, self.address = region, sessions, address
        self.complaints: list[str] = []
        self._browser = browser
        self.live = approved(region, card(1))
        region.promote(region.release(playbook(), [card(1)]).hash, "ann", "the first")
        move(region)
        self.waits = region.registry.propose(card(2), "ada", spec("high")).card
        self.failed = region.registry.propose(card(3, ece=0.2, passed=False), "ada", spec()).card

    def page(self, size: tuple[int, int] = WIDE, colours: Any = "light", **more: Any) -> Page:
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=colours, **more
        )
        listen(context, self.complaints)
        page = context.new_page()
        page.goto(f"{self.address}/console?t={self.sessions.invite()}")
        return page

    def standing(self) -> Standing:
        return self.region.registry.standing(self.waits)


@pytest.fixture
def shown(tmp_path: Path, browser: Browser) -> Iterator[Shown]:
    stop = Event()
    with region_at(tmp_path) as region:
        sessions = Sessions(region.clock)
        ring = Keyring(
            {**{key: frozenset({"approve", "read"}) for key in KEYS.values()}, "machine": frozenset({"read"})},
            {key: name for name, key in KEYS.items()},
        )
        deps = ConsoleDeps(
            records=region.records, ledger=region.ledger, pulse=region.pulse, clock=region.clock,
            brain=region.releases.brain, brain_of=region.releases.brain_of, sessions=sessions, region=region,
            keyring=ring, stopping=stop.is_set,
        )  # fmt: skip
        app = Litestar(console_handlers(deps), openapi_config=None)
        with behind_a_port(app, stop, browser) as address:
            found = Shown(region, sessions, browser, address)
            yield found


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["360", "1280"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_page_is_accessible_and_fits(shown: Shown, size: tuple[int, int], colours: str) -> None:
    page = shown.page(size, colours, reduced_motion="reduce")
    for path in ("", f"/{shown.live}", f"/{shown.waits}", f"/{shown.failed}"):
        page.goto(f"{shown.address}/console/models{path}")
        expect(page.locator("h1")).to_be_visible()
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert grave(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path
    assert shown.complaints == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_two_people_approve_with_keys_of_their_own(shown: Shown, script: bool) -> None:
    for number, person in enumerate(("dana", "lee"), start=1):
        page = shown.page(java_script_enabled=script)
        page.goto(f"{shown.address}/console/models")
        page.get_by_role("link", name="accept").nth(1).click()
        page.get_by_label("Why; it is kept").fill(f"{person} looked")
        page.get_by_label("Your own API key").fill(KEYS[person])
        page.get_by_role("button", name="Approve").click()
        expect(page.locator(".meta")).to_contain_text(f"{number} of 2 approvals")
        expect(page.locator("main")).to_contain_text(f"{person} looked")
    expect(page.locator(".meta")).to_contain_text("approved")
    assert shown.standing().approved
    # The session knows who it is: no second key.
    page.get_by_label("Why; it is kept").fill("on second thoughts")
    page.get_by_role("button", name="Refuse").click()
    expect(page.locator(".meta")).to_contain_text("refused")
    assert shown.standing().ended is not None
    assert shown.complaints == []


def test_what_is_wrong_is_said_and_nothing_typed_is_lost(shown: Shown) -> None:
    page = shown.page()
    address = f"{shown.address}/console/models/{shown.waits}"
    for key, says in (("machine", "no key that may approve"), ("nonsense", "no key that may approve"),
                      (KEYS["ada"], "may not do this")):  # fmt: skip
        page.goto(address)
        page.get_by_label("Why; it is kept").fill("a careful reason")
        page.get_by_label("Your own API key").fill(key)
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("alert")).to_contain_text(says)
        expect(page.get_by_label("Why; it is kept")).to_have_value("a careful reason")
    assert shown.standing().approvals == ()


def test_figures_stand_beside_their_drawings(shown: Shown) -> None:
    page = shown.page()
    page.goto(f"{shown.address}/console/models/{shown.live}")
    curve = page.get_by_role("img", name="Calibration on the latest rows")
    expect(curve).to_be_visible()
    assert "20.0% predicted, 17.0% happened" in (curve.get_attribute("aria-label") or "")
    for words in ("live", "the first", "they use more than they pay for", "plan team", "region north", "ece_max"):
        expect(page.locator("main")).to_contain_text(words)
    page.goto(f"{shown.address}/console/models/{shown.failed}")
    expect(page.locator(".notice")).to_contain_text("ece is 0.2, above 0.08")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)


def test_what_heavier_models_said_stands_on_the_page_of_the_one_that_answered(shown: Shown) -> None:
    at_ms = shown.region.clock.now_ms()
    fast, worst = f"m@{shown.live[:12]}", (("d-of-it", 0.2),)
    found = Disagreement(fast, "heavy@2", at_ms, at_ms, 4, 8, -0.4, 0.4, 0.1, 2, 1, worst)
    body = encode_disagreement(found)
    entry = StoredDrift("x", at_ms, "disagreement", spec().model, "heavy@2", "disagreement", 0, body)
    shown.region.records.run(lambda tx: tx.put_drift(entry))
    page = shown.page()
    page.goto(f"{shown.address}/console/models/{shown.live}")
    apart = page.get_by_role("region", name="What heavier models said afterwards")
    expect(apart).to_contain_text("5.00 apart (-5.00)")
    expect(apart).to_contain_text("25.0 % with another offer first")
    expect(apart.get_by_role("link")).to_have_attribute("href", "/console/decisions/d-of-it")
    assert grave(page) == []
    page.goto(f"{shown.address}/console/models/{shown.waits}")
    expect(page.get_by_role("region", name="What heavier models said afterwards")).to_have_count(0)
    assert shown.complaints == []
