"""A real server is killed while it ranks: what was answered is in the log, and the learner made from it is the same."""

from __future__ import annotations

import json
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from opportune.core.bandits.ranking import Ranked
from opportune.flows.learning.personalize import logged
from opportune.wiring import open_region

pytestmark = pytest.mark.slow
OPPORTUNE = str(Path(sys.executable).with_name("opportune"))
BODY = {"actions": [{"id": "a", "features": [{"x": 1.5}]}, {"id": "b"}], "contextFeatures": [{"day": "mon"}]}


def served(folder: Path) -> tuple[subprocess.Popen[str], HTTPConnection]:
    server = subprocess.Popen(
        [OPPORTUNE, "serve", "--playbook", str(folder), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    for line in server.stdout:
        for word in line.split():
            if word.startswith("http://"):
                found = urlsplit(word)
                assert found.port is not None
                return server, HTTPConnection("127.0.0.1", found.port, timeout=60)
    raise AssertionError("the server did not start")


def asked(connection: HTTPConnection, key: str, path: str, body: object) -> Any:
    headers = {"Ocp-Apim-Subscription-Key": key, "Content-Type": "application/json"}
    connection.request("POST", f"/personalizer/v1.0/{path}", json.dumps(body), headers)
    reply = connection.getresponse()
    said = reply.read()
    assert reply.status in (201, 204), said
    return json.loads(said) if said else None


def test_what_was_answered_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "playbook"
    subprocess.run([OPPORTUNE, "init", str(folder)], check=True, capture_output=True)
    with (folder / "opportune.yaml").open("a") as file:
        file.write("\npersonalizer:\n  mode: online\n")
    server, connection = served(folder)
    answered = {}
    try:
        key = json.loads((folder / ".opportune" / "api_keys.json").read_text())["api_key"]
        for number in range(60):
            event = f"e{number}"
            answered[event] = asked(connection, key, "rank", {**BODY, "eventId": event})["rewardActionId"]
            if number % 2:
                asked(connection, key, f"events/{event}/reward", {"value": number / 60})
    finally:
        server.kill()
        server.wait(30)
        connection.close()

    region = open_region(folder / ".opportune", "larkfield", "eu")
    kept = {one.event: one.chosen for one in logged(region.records) if isinstance(one, Ranked)}
    joined = region.personalize.joined()
    digest = joined.learner.digest()
    region.personalize.again()
    assert kept == answered
    assert (joined.counted.ranked, joined.counted.rewards, joined.learner.learned) == (60, 30, 30)
    assert region.personalize.joined().learner.digest() == digest
    region.close()
