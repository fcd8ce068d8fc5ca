"""The page on drift in a browser: accessible, as wide as the screen, in both colours, with nothing blocked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from chromium import NARROW, WIDE, browser, grave, listen
from drifting import POLICY, ask_all, use_more, watched_region
from playwright.sync_api import Browser, expect

from opportune.doors.cli import server
from opportune.doors.http.keys import ALL_SCOPES, Keyring

__all__ = ["browser"]

pytestmark = pytest.mark.slow


def test_the_page_is_accessible_and_fits(tmp_path: Path, browser: Browser) -> None:
    policy = msgspec.structs.replace(POLICY, actions={"input": "propose_retraining"})
    with watched_region(tmp_path, policy) as region:
        use_more(region)
        ask_all(region, 3)
        region.drift.check()
        with server.Server(region, Keyring({"all": ALL_SCOPES}), server.listen("127.0.0.1", 0)) as served:
            for size in (NARROW, WIDE):
                for colours in ("light", "dark"):
                    complaints: list[str] = []
                    context = browser.new_context(
                        viewport={"width": size[0], "height": size[1]}, color_scheme=colours, reduced_motion="reduce"
                    )
                    listen(context, complaints)
                    page = context.new_page()
                    page.goto(served.link())
                    page.goto(f"{served.url}/console/drift")
                    expect(page.locator("h1")).to_have_text("Drift")
                    expect(page.locator("td.hit").first).to_be_visible()
                    assert grave(page) == []
                    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
                    assert complaints == []
                    context.close()
