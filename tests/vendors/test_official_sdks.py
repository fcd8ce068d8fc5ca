"""The official server SDKs, from the registries, pointed at a real server by their URL: all arrives unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opportune.core.signals import Signal
from opportune.doors.cli.server import Server, listen
from opportune.wiring import keyring, open_region, writing

from .vendor_room import sample

pytestmark = pytest.mark.slow

SDKS = Path(__file__).with_name("sdks")
NODE_PACKAGES = {
    "@segment/analytics-node": "3.1.0", "@rudderstack/rudder-sdk-node": "3.0.13", "posthog-node": "5.70.0",
}  # fmt: skip
INSTALL_S_MAX, STORY_S_MAX = 120, 60
TRAITS = {"role": "admin", "locale": "de", "nested": {"a": [1, 2.5, None, "ü"]}}


class Running:
    """A server as `opportune serve` runs it, over files of its own; `told` are the signals since it was asked."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.key = key
        self._seq = 0

    def told(self) -> list[Signal]:
        found = list(self.server.region.records.signals(self._seq))
        self._seq = max([self._seq, *(one.seq for one in found)])
        return [one.signal for one in found]

    def quarantined(self) -> list[Any]:
        return [(one.type, one.problems) for one in self.server.region.records.quarantined(100)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("sdks")
    with writing(data):
        region = open_region(data, "sdks", "eu")
        release = region.release(sample())
        region.promote(release.hash, "test", "test")
        ring, named = keyring(data)
        with Server(region, ring, listen("127.0.0.1", 0)) as server:
            yield Running(server, named["write_key"])
        region.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Node SDKs; without npm or its registry the tests are skipped, but on CI they fail."""
    folder = tmp_path_factory.mktemp("node")
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return absent("npm and node are not on this machine")
    (folder / "package.json").write_text('{"private": true}')
    packages = [f"{name}@{version}" for name, version in NODE_PACKAGES.items()]
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return absent(f"npm did not answer in {INSTALL_S_MAX} s")
    if done.returncode != 0:
        return absent(f"npm could not install the SDKs: {done.stderr[-400:]}")
    for script in SDKS.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def absent(reason: str) -> Path:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def tell(command: list[str], running: Running, folder: Path | None = None) -> None:
    done = subprocess.run(
        [*command, running.server.url, running.key], cwd=folder, capture_output=True, text=True,
        timeout=STORY_S_MAX, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def hold(running: Running, source: str) -> None:
    """The whole story, each fact once, as the SDK was given it."""
    told = running.told()
    assert running.quarantined() == []
    assert {one.source for one in told} == {source}
    assert Counter(one.type for one in told) == {
        "person.updated": 1, "account.updated": 1, "ticket.opened": 1, "seats.counted": 20,
    }  # fmt: skip
    by_type = {one.type: one for one in told}
    person, account, ticket = (by_type[name] for name in ("person.updated", "account.updated", "ticket.opened"))
    assert (person.customer, person.data) == ("u1", TRAITS)
    assert (account.account, account.data) == ("acme", {"name": "Acme", "seats": 10})
    assert (ticket.customer, ticket.account, ticket.data) == ("u1", "acme", {"ticket": "T1", "priority": "low"})
    seats = [one.data for one in told if one.type == "seats.counted"]
    assert sorted(seats, key=lambda data: data["used"]) == [{"used": used, "seats": 20} for used in range(20)]
    assert len({one.id for one in told}) == len(told)


@pytest.mark.parametrize(
    ("script", "source"),
    [("segment_python.py", "segment"), ("rudder_python.py", "segment"), ("posthog_python.py", "posthog")],
)
def test_a_python_sdk_delivers(running: Running, script: str, source: str) -> None:
    tell([sys.executable, str(SDKS / script)], running)
    hold(running, source)


@pytest.mark.parametrize(
    ("script", "source"),
    [("segment_node.mjs", "segment"), ("rudder_node.mjs", "segment"), ("posthog_node.mjs", "posthog")],
)
def test_a_node_sdk_delivers(running: Running, node: Path, script: str, source: str) -> None:
    tell(["node", script], running, node)
    hold(running, source)
