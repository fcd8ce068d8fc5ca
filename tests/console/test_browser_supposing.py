"""What if, why not and reviews in a real browser: nothing inaccessible or too wide, also without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from chromium import NARROW, WIDE, behind_a_port, browser, grave
from playwright.sync_api import Browser, expect
from scene import Scene
from test_browser import Served
from test_supposing import escalated

__all__ = ["browser"]

pytestmark = pytest.mark.browser


@pytest.fixture
def served(scene: Scene, browser: Browser) -> Iterator[Served]:
    stop = Event()
    with behind_a_port(scene.app(stream_every_ms=50, stopping=stop.is_set), stop, browser) as address:
        found = Served(scene, browser, address)
        yield found
    assert found.complaints == []


def refused(served: Served) -> str:
    id_ = served.scene.decide("ada", consent={"in_app": "unknown", "email": "withdrawn"})
    return f"{served.address}/console/decisions/{id_}"


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["360", "1280"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_pages_are_accessible_and_fit(served: Served, size: tuple[int, int], colours: Any) -> None:
    page = served.page(size, colours, reduced_motion="reduce")
    case, review = refused(served), escalated(served.scene)

    page.goto(case)
    page.get_by_role("link", name="What would have made it win?").click()
    expect(page.get_by_role("heading", name="What would have made it win", exact=True)).to_be_visible()
    page.locator("details.suppose > summary").click()
    page.get_by_label("marketing/in_app").select_option("given")
    page.get_by_role("button", name="Decide again").click()
    expect(page.get_by_text("It would be otherwise:")).to_be_visible()
    assert grave(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for address in ("/console/reviews", f"/console/reviews/{review}"):
        page.goto(served.address + address)
        expect(page.locator("h1")).to_be_visible()
        assert grave(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_all_of_it_works_without_scripts(served: Served) -> None:
    page = served.page(java_script_enabled=False)
    page.goto(refused(served))

    page.locator("details.suppose > summary").click()
    page.get_by_label("marketing/in_app").select_option("given")
    page.get_by_role("button", name="Decide again").click()
    expect(page.get_by_text("It would be otherwise:")).to_be_visible()
    page.get_by_role("link", name="What would have made it win?").click()
    expect(page.get_by_text("It would have won with consent to marketing by in_app given").first).to_be_visible()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("Same bytes.")).to_be_visible()
