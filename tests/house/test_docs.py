"""Undocumented means red: every route and every command stands in the docs, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opportune.doors.http.app import build_app
from opportune.doors.http.hot import HotDoor
from opportune.doors.http.keys import Keyring
from opportune.doors.http.vendors.door import VendorDoor

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def routes_of(app: HotDoor) -> set[str]:
    """Every path the application answers, as the docs write it."""
    vendors = app.behind
    assert isinstance(vendors, VendorDoor)
    found = vendors.behind.route_handler_method_map  # type: ignore[attr-defined]
    behind = {re.sub(r":[a-z]+}", "}", path) for path in found}
    return set(app.routes) | vendors.routes | {path for path in behind if not path.startswith("/console")}


def test_every_route_is_documented() -> None:
    text = (ROOT / "docs/http.md").read_text()
    app = build_app(lambda: pytest.fail("no request is made"), Keyring({}))
    mentioned = set(re.findall(r"/[A-Za-z0-9_./{}-]*[A-Za-z0-9_}]", text))
    missing = {path for path in routes_of(app) if path not in mentioned and path not in ("/", "/{path}")}

    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target]

    assert [target for target in local if not (page.parent / target).exists()] == []
