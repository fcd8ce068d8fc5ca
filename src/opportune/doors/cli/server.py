"""The HTTP server of one region in a thread of its own, with the chores around it; all end cleanly."""

from __future__ import annotations

import socket
from threading import Thread
from time import monotonic, sleep
from types import TracebackType

import uvicorn

from opportune.doors.cli.chores import chores
from opportune.doors.cli.logs import reticent_logs
from opportune.doors.cli.output import Refusal
from opportune.doors.cli.watching import Train
from opportune.doors.console import ConsoleDeps, Sessions, console_handlers
from opportune.doors.http.app import build_app
from opportune.doors.http.keys import Keyring
from opportune.flows.region import Region

START_WAIT_MAX_S = 15.0
STOP_WAIT_MAX_S = 3
KEEP_ALIVE_S = 30
PORTS_TRIED = 50


class Server:
    """Serves a region over HTTP while its `with` block runs; `link` signs in to the console once."""

    def __init__(
        self, region: Region, keyring: Keyring, listener: socket.socket, train: Train | None = None
    ) -> None:
        """`train` trains models again in a process of its own, for cases of drift that a person approved."""
        reticent_logs()
        self.region = region
        self._listener = listener
        self.host, self.port = listener.getsockname()[:2]
        self._sessions = Sessions(region.clock)
        self._chores = chores(region, train)
        deps = ConsoleDeps(
            records=region.records, ledger=region.ledger, pulse=region.pulse, clock=region.clock,
            brain=region.releases.brain, brain_of=region.releases.brain_of, sessions=self._sessions, region=region,
            keyring=keyring,
            degraded=lambda: [*_failing(region), *(one for chore in self._chores for one in chore.degraded())],
            stopping=lambda: self._server.should_exit,
        )  # fmt: skip
        config = uvicorn.Config(
            build_app(lambda: region, keyring, console_handlers(deps)), loop="uvloop", http="httptools",
            log_config=None, log_level="warning", access_log=False, lifespan="off", timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_WAIT_MAX_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = Thread(target=self._server.run, args=([listener],), name="http", daemon=True)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def link(self) -> str:
        """A link that signs its first visitor in to the console."""
        return f"{self.url}/console?t={self._sessions.invite()}"

    def __enter__(self) -> Server:
        self._thread.start()
        since = monotonic()
        while not self._server.started:
            if not self._thread.is_alive() or monotonic() - since > START_WAIT_MAX_S:
                raise Refusal(f"the server did not start on {self.url}: look at the messages above")
            sleep(0.005)
        for chore in self._chores:
            chore.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_WAIT_MAX_S + 5)
        for chore in self._chores:
            chore.stop()
        self._listener.close()


def _failing(region: Region) -> list[tuple[str, str]]:
    """(source, what is wrong) of every source whose breaker is not closed, for the console."""
    why = "keeps failing: decisions do without it, and say so; it is tried again every few seconds"
    return [(source, why) for source in region.breakers.not_closed()]


def listen(host: str, port: int, *, next_free: bool = False) -> socket.socket:
    """A listening socket; when the port is taken, the next free one, or Refusal."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last: OSError | None = None
    for one in range(port, min(port + (PORTS_TRIED if next_free else 1), 65_536)):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, one))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            last = error
            continue
        return listener
    why = "" if last is None or last.strerror is None else f" ({last.strerror.lower()})"
    raise Refusal(f"port {port} of `{host}` cannot be used{why}: choose another with `--port`")
