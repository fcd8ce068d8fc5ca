"""Debian's Chromium for tests: one browser a module, an application behind a port, and every complaint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from threading import Event, Thread
from typing import Any, Final

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

# A cap on waiting, not a sleep: two cores shared with other tests may take their time.
expect.set_options(timeout=30_000)

CHROMIUM: Final = Path("/usr/bin/chromium")
AXE: Final = Path(__file__).parents[1] / "vendor/axe-core/axe.min.js"
FLAGS: Final = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
NARROW: Final = (360, 780)
WIDE: Final = (1280, 900)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Import this fixture by name where it is used."""
    if not CHROMIUM.exists():
        why = "there is no /usr/bin/chromium: run scripts/install-chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield found
        found.close()


def listen(context: BrowserContext, complaints: list[str]) -> None:
    """Notes everything that is blocked, fails or is said on the browser's console."""
    context.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective))"
    )
    context.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    context.on("weberror", lambda fault: complaints.append(str(fault.error)))


@contextmanager
def behind_a_port(app: Any, stop: Event, browser: Browser) -> Iterator[str]:
    """The address of an ASGI application while the block runs; the browser's pages are closed before it ends."""
    ear = socket()
    ear.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [ear]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{ear.getsockname()[1]}"
    finally:
        for context in browser.contexts:
            context.close()
        stop.set()
        server.should_exit = True
        thread.join()
        ear.close()


def violations(page: Page, *impacts: str) -> list[str]:
    """What axe finds wrong, of these impacts or of all; run outside the page's own CSP."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['target']} {one['nodes'][0]['failureSummary']}"
        for one in found["violations"]
        if not impacts or one["impact"] in impacts
    ]


def grave(page: Page) -> list[str]:
    """Serious and critical issues."""
    return violations(page, "serious", "critical")
