"""The command `serve`: one region over HTTP until it is told to stop."""

from __future__ import annotations

import signal
import sys
from ipaddress import ip_address
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, note

if TYPE_CHECKING:
    from opportune.doors.cli.server import Server
    from opportune.doors.cli.workbench import Place, Workbench
    from opportune.doors.http.keys import Keyring

WATCH_EVERY_S = 0.5


def serve(
    ctx: typer.Context,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0 takes any free one.")] = 7400,
    role: Annotated[str, typer.Option("--role", help="Only `all` in this version.")] = "all",
    workers: Annotated[int, typer.Option("--workers", help="Only 1 in this version.")] = 1,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Listen beyond this machine.")] = False,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Serve the API and the console until SIGTERM or Ctrl-C."""
    if role != "all":
        raise Refusal(f"`--role {role}` is not in this version: one process does everything, leave it out")
    if workers != 1:
        raise Refusal(f"`--workers {workers}` is not in this version: one process writes a store, leave it out")
    if not allow_remote and not is_loopback(host):
        raise Refusal(f"`--host {host}` is open to other machines: say `--allow-remote` if you mean it")
    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)

    from opportune.doors.cli.live import ensure_live
    from opportune.doors.cli.server import Server, listen
    from opportune.doors.cli.watching import training_apart

    stop = Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    with workbench.writing(place) as region:
        ensure_live(workbench, place, region, note)
        keyring, _ = workbench.keys(place)
        with Server(region, keyring, listen(host, port), training_apart(place.folder, place.region)) as server:
            _banner(server, place, region.releases.live().hash, as_json)
            kept = _written_ns(place)
            while not stop.wait(WATCH_EVERY_S):
                if not server.alive:
                    raise Refusal("the server ended by itself: look at the messages above")
                kept = _keys_kept(workbench, place, keyring, kept)
    note("stopped: everything acknowledged is stored, the ledger is published")


def _keys_kept(workbench: Workbench, place: Place, keyring: Keyring, known_ns: int) -> int:
    """Takes over the file of keys when it was written since, and returns when; a broken file changes nothing."""
    written_ns = _written_ns(place)
    if written_ns != known_ns:
        try:
            keyring.become(workbench.keys(place)[0])
        except Exception as error:  # noqa: BLE001 - the server goes on with the keys it has
            for sentence in workbench.sentences(error) or [f"the keys could not be read ({type(error).__name__})"]:
                note(sentence)
    return written_ns


def _written_ns(place: Place) -> int:
    try:
        return place.keys_file.stat().st_mtime_ns
    except OSError:
        return 0


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _banner(server: Server, place: Place, release: str, as_json: bool) -> None:
    data = {"url": server.url, "console": server.link(), "keys": str(place.keys_file), "release": release}
    data["region"] = place.region
    lines = [
        f"  serving   {server.url}  ({place.project}, region {place.region}, release {release})",
        f"  console   {data['console']}  (one-time sign-in link)",
        f"  keys      {place.keys_file}  (api_key for your systems, write_key for Segment-style sources)",
        "  stop      Ctrl-C",
    ]
    emit(as_json, data, "\n".join(lines))
    sys.stdout.flush()

