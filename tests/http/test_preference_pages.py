"""The customer's pages in a real browser: accessible, fitting, without scripts, and usable by keyboard alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import NARROW, WIDE, browser, listen, violations
from door import Door, served
from playwright.sync_api import Browser, Page, expect

__all__ = ["browser"]

SIZES = {"360": NARROW, "1280": WIDE}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("pages")) as found:
        yield found


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """Everything the browser complains of: there must be nothing at the end."""
    found: list[str] = []
    yield found
    assert found == []


def opened(browser: Browser, complaints: list[str], size: str = "1280", colours: Any = "light", **more: Any) -> Page:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=colours, **more)
    listen(context, complaints)
    return context.new_page()


def links(door: Door, who: str) -> dict[str, str]:
    found: dict[str, str] = door.post(f"/v1/customers/{who}/preference-link", {}).json()
    return found


def looked_at(page: Page, name: str) -> None:
    if folder := os.environ.get("OPPORTUNE_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_page_is_accessible_and_fits(
    door: Door, browser: Browser, complaints: list[str], size: str, colours: str
) -> None:
    who = door.customer()
    made = links(door, who)
    addresses = {
        "preferences": f"{made['url']}?saved=1",
        "unsubscribe": made["list_unsubscribe"].strip("<>"),
    }
    page = opened(browser, complaints, size, colours, extra_http_headers={"Sec-GPC": "1"})
    for name, address in addresses.items():
        page.goto(address)
        expect(page.locator("h1")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        looked_at(page, f"{name}-{size}-{colours}")
    page.get_by_role("button", name="Unsubscribe").click()
    expect(page.locator("h1")).to_have_text("You are unsubscribed")
    assert violations(page) == []
    page.context.close()


def test_a_link_that_leads_nowhere_is_accessible_too(door: Door, browser: Browser) -> None:
    page = opened(browser, [])  # a browser notes every 404 in its console
    page.goto(links(door, door.customer())["url"][:-3])
    expect(page.locator("h1")).to_have_text("This link leads nowhere")
    assert violations(page) == []
    page.context.close()


def test_a_customer_decides_without_scripts_by_keyboard(door: Door, browser: Browser, complaints: list[str]) -> None:
    who = door.customer()
    page = opened(browser, complaints, java_script_enabled=False)
    page.goto(links(door, who)["url"])
    box = page.get_by_role("checkbox", name="Banner in the product")
    expect(box).to_be_checked()
    box.focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Save my choices").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("saved")
    expect(box).not_to_be_checked()
    assert door.decide(who).json()["reason"] == "NO_CONSENT"
    page.get_by_role("button", name="Stop everything").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("saved")
    for one in page.get_by_role("checkbox").all():
        expect(one).not_to_be_checked()
    held = door.get(f"/v1/customers/{who}/consents").json()["consents"]
    assert held["*/*"]["status"] == "withdrawn"
    page.context.close()
