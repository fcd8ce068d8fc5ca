"""The real server as a process of its own, and a small client that talks to it over one connection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

OPPORTUNE = str(Path(sys.executable).with_name("opportune"))


def opportune(*arguments: str | Path, codes: tuple[int, ...] = (0,)) -> Any:
    """Runs a command with `--json` and returns the document it printed."""
    done = subprocess.run(
        [OPPORTUNE, *map(str, arguments), "--json"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode in codes, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


class Reply:
    """An answer: its status and what its body says."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:400]!r}"


class Client:
    """One keep-alive connection with one key; OSError or HTTPException when the other side is gone."""

    def __init__(self, url: str, key: str) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self._connection = HTTPConnection(where.hostname, where.port, timeout=30)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, {**self._headers, **(headers or {})})
        answer = self._connection.getresponse()
        return Reply(answer.status, answer.read())

    def get(self, path: str) -> Reply:
        return self.send("GET", path)

    def post(self, path: str, body: object) -> Reply:
        return self.send("POST", path, body)

    def close(self) -> None:
        self._connection.close()


class Served:
    """`opportune serve` on a playbook's folder, from the moment it says that it listens."""

    def __init__(self, playbook: Path, region: str | None = None, log: Path | None = None) -> None:
        """The home region unless another is named; what it says beside its answers goes to the end of `log`."""
        self.playbook = playbook
        command = [OPPORTUNE, "serve", "--playbook", str(playbook), "--port", "0", "--json"]
        command += [] if region is None else ["--region", region]
        with (log or Path(os.devnull)).open("ab") as beside:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=beside)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the server ended with {self._process.wait()}"
        said = json.loads(line)
        assert "url" in said, said
        self.url: str = said["url"]
        self.said: dict[str, Any] = said
        self.keys: dict[str, str] = json.loads(Path(said["keys"]).read_text())
        self.key: str = self.keys["api_key"]

    def client(self) -> Client:
        return Client(self.url, self.key)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is closed."""
        self._process.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM, as an operator would; the exit code."""
        self._process.terminate()
        return self._end()

    def _end(self) -> int:
        code = self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code
