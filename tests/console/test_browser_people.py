"""Customers and quarantine in a real browser: no error, nothing blocked, nothing inaccessible, also without script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from chromium import NARROW, WIDE, behind_a_port, browser, grave, listen
from people import People, people_in
from playwright.sync_api import Browser, Page, expect

__all__ = ["browser"]

pytestmark = pytest.mark.browser


class Shown:
    """The console of a region behind a port; every complaint of the browser is remembered."""

    def __init__(self, people: People, browser: Browser, address: str) -> None:
        self.people = people
        self.address = address
        self.complaints: list[str] = []
        self._browser = browser
        self.decision = people.story()
        people.kept_out()

    def page(self, size: tuple[int, int] = WIDE, colours: Any = "light", **more: Any) -> Page:
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=colours, **more
        )
        listen(context, self.complaints)
        page = context.new_page()
        page.goto(f"{self.address}/console?t={self.people.sessions.invite()}")
        return page


@pytest.fixture
def shown(tmp_path: Path, browser: Browser) -> Iterator[Shown]:
    stop = Event()
    with (
        people_in(tmp_path) as people,
        behind_a_port(people.app(stream_every_ms=200, stopping=stop.is_set), stop, browser) as address,
    ):
        found = Shown(people, browser, address)
        yield found
    assert found.complaints == []


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["360", "1280"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_page_is_accessible_and_fits(shown: Shown, size: tuple[int, int], colours: str) -> None:
    page = shown.page(size, colours, reduced_motion="reduce")
    paths = (
        "/customers", "/customers?nobody=1", "/customers/ada", "/customers/ada?kind=consent", "/accounts/acme",
        "/quarantine", "/quarantine?status=all&reason=conflict", "/quarantine?source=none", "/quarantine/1",
        "/quarantine/3", "/feedback", "/reviews", f"/decisions/{shown.decision}",
        f"/decisions/{shown.decision}/lineage/seat_ratio", f"/decisions/{shown.decision}/lineage/role",
    )  # fmt: skip

    for path in paths:
        page.goto(f"{shown.address}/console{path}")
        expect(page.locator("h1")).to_be_visible()
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert grave(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_values_are_revealed_for_one_answer_and_gone_after_it(shown: Shown, script: bool) -> None:
    page = shown.page(java_script_enabled=script)
    page.get_by_role("searchbox", name="Find a customer by id").fill("ada@example.com")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("ada")
    expect(page.locator("main")).not_to_contain_text("the countess")

    page.get_by_label("values are masked").fill("ticket 4711")
    page.get_by_role("button", name="Reveal").click()

    expect(page.locator("main")).to_contain_text("the countess")
    expect(page.locator("main")).to_contain_text("in clear in this answer only")
    page.get_by_role("link", name="All", exact=True).click()
    expect(page.locator("main")).not_to_contain_text("the countess")
    expect(page.locator(".story")).to_contain_text("console read the customer's page")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_signal_is_fixed_and_sent_again_where_it_is_read(shown: Shown, script: bool) -> None:
    page = shown.page(java_script_enabled=script)
    page.get_by_role("link", name="Quarantine").first.click()
    expect(page.locator(".waits")).to_contain_text("4")
    page.get_by_role("link", name="person.updated").first.click()
    expect(page.locator("main")).to_contain_text("data.timezone")

    page.get_by_label("New value").fill("Europe/Oslo")
    page.get_by_role("button", name="Change and send").click()

    expect(page.locator(".state")).to_contain_text("resubmitted")
    expect(page.locator(".waits")).to_contain_text("3")
    page.get_by_role("link", name="bob").click()
    expect(page.locator("main")).to_contain_text("Europe/Oslo")


def test_colours_lead_back_from_an_answer_to_a_form(shown: Shown) -> None:
    page = shown.page(java_script_enabled=False)
    page.goto(f"{shown.address}/console/quarantine/1")
    page.get_by_label("values are masked").fill("ticket 4711")
    page.get_by_role("button", name="Reveal").click()

    page.get_by_role("button", name="Dark colours").click()

    assert page.url == f"{shown.address}/console/quarantine/1"
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_customer_is_found_and_read_by_keyboard(shown: Shown) -> None:
    page = shown.page()
    page.goto(f"{shown.address}/console/customers")
    page.keyboard.press("/")
    page.keyboard.type("acme")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("acme")
    page.goto(f"{shown.address}/console/customers/ada")
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        reached.add(page.evaluate("document.activeElement.getAttribute('href') ?? document.activeElement.id"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert {"/console/accounts/acme", "why", f"/console/decisions/{shown.decision}"} <= reached
    assert "/console/customers/ada?kind=consent#timeline" in reached
