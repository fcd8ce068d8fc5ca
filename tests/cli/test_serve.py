"""`init` and then `serve` is a working server; others may read beside it, and nobody may write."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .called import ENTRY, call

pytestmark = pytest.mark.slow


@pytest.fixture
def served(playbook: Path) -> Iterator[tuple[Path, dict[str, Any], subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [str(ENTRY), "serve", "--port", "0", "--json", "--playbook", str(playbook)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield playbook, json.loads(process.stdout.readline()), process
    finally:
        process.kill()
        process.communicate()


def post(url: str, key: str, body: object) -> Any:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_new_playbook_serves_decides_and_stops_cleanly(
    served: tuple[Path, dict[str, Any], subprocess.Popen[str]]
) -> None:
    playbook, told, process = served
    key = json.loads(Path(told["keys"]).read_text())["api_key"]
    fact = {"specversion": "1.0", "id": "1", "source": "crm", "type": "person.updated", "subject": "ann",
            "data": {"role": "owner"}}  # fmt: skip
    assert post(f"{told['url']}/v1/signals", key, fact)["accepted"] == 1
    question = {"customer": {"id": "ann"}, "moment": "page.pricing_viewed"}
    answer = post(f"{told['url']}/v1/decisions", key, question)
    assert answer["reason"] == "NO_CONSENT"
    with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(told["console"]) as page:
        assert page.status == 200

    shown = call("explain", answer["decision_id"], "--playbook", playbook)
    assert shown.code == 0, shown.err
    assert call("replay", answer["decision_id"], "--playbook", playbook).code == 0
    assert call("audit", "verify", "--playbook", playbook).code == 0
    refused = call("decide", "ann", "--moment", "page.pricing_viewed", "--playbook", playbook)
    assert refused.code == 2
    assert "is `opportune serve` running?" in refused.err

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "made and promoted" in err
    assert "stopped: everything acknowledged is stored" in err
    assert "Traceback" not in err
    verified = call("audit", "verify", "--playbook", playbook, "--json").json
    assert verified["ok"]
    assert verified["size"] == verified["recorded"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--host", "0.0.0.0"), "say `--allow-remote` if you mean it"),
        (("--role", "worker"), "one process does everything"),
        (("--workers", "4"), "one process writes a store"),
    ],
)
def test_what_this_version_does_not_serve_is_refused(
    playbook: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    said = call("serve", *arguments, "--playbook", playbook)
    assert said.code == 2
    assert sentence in said.err
    assert not (playbook / ".opportune").exists()


def test_a_port_that_is_taken_is_named(playbook: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = subprocess.run(
            [str(ENTRY), "serve", "--port", str(port), "--playbook", str(playbook)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert said.returncode == 2
    assert f"port {port} of `127.0.0.1` cannot be used (address already in use)" in said.stderr
