"""The console in a real browser: no error, no blocked content, nothing inaccessible, everything by keyboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from chromium import NARROW, WIDE, behind_a_port, browser, grave, listen
from playwright.sync_api import Browser, Page, expect
from scene import Scene
from test_flags import flag

__all__ = ["browser"]

pytestmark = pytest.mark.browser


class Served:
    """The scene behind a port, and a page that is signed in and remembers every complaint of the browser."""

    def __init__(self, scene: Scene, browser: Browser, address: str) -> None:
        self.scene = scene
        self.address = address
        self._browser = browser
        self.complaints: list[str] = []
        self.made = scene.populate(28)
        scene.outcome(self.made[-1], "delivered", 1_200)
        scene.ledger.publish()

    def page(self, size: tuple[int, int] = WIDE, colours: Any = "light", **more: Any) -> Page:
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=colours, **more
        )
        listen(context, self.complaints)
        page = context.new_page()
        page.goto(f"{self.address}/console?t={self.scene.sessions.invite()}")
        return page

    def case(self) -> str:
        return f"{self.address}/console/decisions/{self.made[-1]}"

    def offer(self) -> str:
        """The newest decision, an offer: the draw may choose to offer nothing, then another is made."""
        while True:
            id_ = self.scene.decide("the_last")
            stored = self.scene.records.decision(id_)
            if stored is not None and stored.disposition == "offered":
                return id_


@pytest.fixture
def served(scene: Scene, browser: Browser) -> Iterator[Served]:
    stop = Event()
    with behind_a_port(scene.app(stream_every_ms=50, stopping=stop.is_set), stop, browser) as address:
        found = Served(scene, browser, address)
        yield found
    assert found.complaints == []


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["360", "1280"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_both_pages_are_accessible_and_fit(served: Served, size: tuple[int, int], colours: str) -> None:
    page = served.page(size, colours, reduced_motion="reduce")

    for address in (f"{served.address}/console?pause=1", served.case()):
        page.goto(address)
        expect(page.locator("h1")).to_be_visible()
        assert grave(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["360", "1280"])
def test_flags_on_a_decision_are_accessible_and_fit(served: Served, size: tuple[int, int]) -> None:
    page = served.page(size, "light", reduced_motion="reduce")
    page.goto(f"{served.address}/console/decisions/{flag(served.scene)}")
    expect(page.locator("section[aria-labelledby=quality] tbody tr")).to_have_count(3)
    assert grave(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    if folder := os.environ.get("OPPORTUNE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/flags-{size[0]}.png", full_page=True)


def test_the_way_in_is_accessible(served: Served, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{served.address}/console")

    expect(page.locator("h1")).to_have_text("Sign in to the console")
    assert grave(page) == []


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["360", "1280"])
def test_a_new_decision_arrives_by_itself_at_the_top(served: Served, size: tuple[int, int]) -> None:
    page = served.page(size)
    expect(page.locator("#line")).to_have_text("Streaming")

    made = served.scene.decide("newcomer")

    expect(page.locator("#rows tr").first).to_have_attribute("data-id", made)
    expect(page.locator(".mix")).to_contain_text("Offered")


def test_the_list_keeps_fifty_rows_and_only_what_the_filter_lets_in(served: Served) -> None:
    page = served.page()
    page.goto(f"{served.address}/console?disposition=offered")
    expect(page.locator("#line")).to_have_text("Streaming")

    for number in range(120):
        served.scene.decide(f"c{number}", features={"open_tickets": 1 if number % 4 else 9})
    last = served.offer()

    expect(page.locator("#rows tr").first).to_have_attribute("data-id", last)
    expect(page.locator("#rows tr")).to_have_count(50)
    expect(page.locator("#rows .f-no_offer")).to_have_count(0)


def test_pausing_holds_the_list_and_counts_what_comes(served: Served) -> None:
    page = served.page()
    expect(page.locator("#line")).to_have_text("Streaming")
    page.get_by_role("link", name="Pause").click()
    before = page.locator("#rows tr").first.get_attribute("data-id")

    made = served.scene.decide("meanwhile")

    expect(page.locator("#line")).to_have_text("Paused, 1 new")
    assert page.locator("#rows tr").first.get_attribute("data-id") == before
    assert page.url.endswith("/console?pause=1")
    page.get_by_role("link", name="Resume").click()
    expect(page.locator("#rows tr").first).to_have_attribute("data-id", made)
    expect(page.locator("#line")).to_have_text("Streaming")


def test_everything_can_be_reached_by_keyboard(served: Served) -> None:
    page = served.page()
    page.goto(f"{served.address}/console?pause=1")

    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type(served.made[-1])
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Offered")
    page.go_back()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.getAttribute('href')"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
    assert f"/console/decisions/{served.made[-1]}" in reached
    assert "/console?disposition=shed" in reached


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["360", "1280"])
def test_replay_says_same_bytes_in_the_page(served: Served, size: tuple[int, int]) -> None:
    page = served.page(size)
    page.goto(served.case())

    page.get_by_role("button", name="Replay").press("Enter")

    expect(page.locator("#replayed")).to_contain_text("Same bytes")
    assert page.url == served.case()


def test_without_javascript_replay_pause_filter_and_colours_still_work(served: Served) -> None:
    page = served.page(java_script_enabled=False)
    page.goto(served.case())
    page.get_by_role("button", name="Replay").click()
    expect(page.locator("#replayed")).to_contain_text("Same bytes")
    page.goto(f"{served.case()}?find=enterprise&sort=channel")
    expect(page.locator("#candidate-rows tr")).to_have_count(2)
    page.get_by_role("button", name="Dark colours").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.url.endswith("?find=enterprise&sort=channel")


def test_candidates_are_filtered_as_one_types_and_the_address_remembers(served: Served) -> None:
    page = served.page()
    page.goto(served.case())

    page.get_by_role("searchbox", name="Filter candidates").fill("eligibility")

    expect(page.locator("#candidate-rows tr:visible")).to_have_count(1)
    assert page.url.endswith("?find=eligibility")
    page.get_by_role("searchbox", name="Filter candidates").fill("xyzzy")
    expect(page.locator("#candidate-rows-none")).to_be_visible()


def test_colours_change_at_once_and_stay(served: Served) -> None:
    page = served.page()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)

    page.get_by_role("button", name="Dark colours").click()

    assert page.evaluate(ground) != light
    page.reload()
    assert page.evaluate(ground) != light
    expect(page.get_by_role("button", name="Dark colours")).to_have_attribute("aria-pressed", "true")


def test_times_show_the_viewers_zone_when_looked_at(served: Served) -> None:
    page = served.page(timezone_id="Asia/Tokyo", locale="en-GB")
    page.goto(f"{served.address}/console?pause=1")
    time = page.locator("#rows time").first

    time.hover()

    expect(time).to_have_attribute("title", "24 Nov 2026, 18:59:59 GMT+9\n2026-11-24 09:59:59.600 UTC")


def test_the_stream_opens_however_late_its_script_comes(served: Served) -> None:
    """htmx starts by itself once it is there; its extension must be there too, even over a slow line."""
    page = served.page()
    context = page.context
    held: list[Any] = []
    context.route("**/hx-sse-*", lambda route: held.append(route))
    with page.expect_request("**/hx-sse-*"):
        page.goto(f"{served.address}/console", wait_until="commit")
    page.evaluate("new Promise(done => { const look = () => setTimeout(window.htmx ? done : look); look(); })")
    assert held
    for route in held:
        route.continue_()

    expect(page.locator("#line")).to_have_text("Streaming")
