"""The command `demo`: everything at work in one command, with no question asked and nothing sent home."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import AsJson, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, json_text, note, say

if TYPE_CHECKING:
    from opportune.doors.cli.server import Server
    from opportune.doors.cli.workbench import Place, Workbench

HEADLESS_SECONDS = 60.0
LIVE_SECONDS_MIN = 15.0
DELAY_SCALE = 1e-5
"""Of the simulated customers: days become seconds."""

SEED = 7


class Run:
    """What a run was asked for, when it began, and whom it tells how it goes."""

    def __init__(self, *, headless: bool, as_json: bool, seconds: float | None, rate: float, port: int) -> None:
        self.began_s = perf_counter() - _since_start_s()
        self.seconds = seconds if seconds is not None else HEADLESS_SECONDS if headless else None
        self.headless, self.as_json, self.rate, self.port = headless, as_json, rate, port
        self.times: dict[str, float] = {}

    def mark(self, name: str) -> float:
        """Remembers how many seconds after the start of the process something happened."""
        self.times[name] = round(perf_counter() - self.began_s, 2)
        return self.times[name]

    def tell(self, line: str) -> None:
        if self.as_json:
            note(line)
        else:
            say(line)
            sys.stdout.flush()

    def until_s(self) -> float | None:
        """The end of the live part: the run lasts `seconds` in all, but the live part never less than its least."""
        if self.seconds is None:
            return None
        return max(self.began_s + self.seconds, perf_counter() + min(self.seconds, LIVE_SECONDS_MIN))


def demo(
    ctx: typer.Context,
    folder: Annotated[Path | None, typer.Option("--dir", help="Keep everything in this new folder.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Or the next free one.")] = 7400,
    rate: Annotated[float, typer.Option("--rate", min=0.1, max=2_000, help="Decisions a second.")] = 40.0,
    seconds: Annotated[float | None, typer.Option("--seconds", min=1, help="End after so many in all.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Without a terminal: end by itself.")] = False,
    as_json: AsJson = False,
) -> None:
    """See it all at work: a simulated company, a real server, live decisions and what they earn."""
    run = Run(headless=headless, as_json=as_json, seconds=seconds, rate=rate, port=port)
    workbench = bench(ctx)
    with _kept(folder) as target:
        workbench.scaffold(target, "saas")
        found = _staged(workbench, workbench.place(target), run, kept=folder is not None)
    if not found:
        note("stopped before anything was decided")
        return
    _told(run, found)
    if found["errors"] or not found["ledger"]["verified"] or found["replay"]["same"] < found["replay"]["of"]:
        raise typer.Exit(FOUND_SOMETHING)


def _staged(workbench: Workbench, place: Place, run: Run, *, kept: bool) -> dict[str, Any]:
    from opportune.doors.cli.demo import stage, summary
    from opportune.doors.cli.server import Server, listen

    sys.setswitchinterval(0.001)
    stop = stage.stopping()
    playbook = workbench.load(place.folder)
    with workbench.writing(place) as region:
        stage.first_release(region, playbook)
        keyring, names = workbench.keys(place)
        with Server(region, keyring, listen("127.0.0.1", run.port, next_free=True)) as server:
            run.mark("url")
            _opened(run, server, place)
            world = workbench.world(SEED, region.clock.now_ms(), DELAY_SCALE)
            history, heard = stage.load_history(region, world, stop, quiet=run.headless)
            loaded = f"{history.get('accepted', 0):,} signals of 75 days"
            run.tell(f"  world   {loaded} loaded ({run.mark('history')} s)")
            if stop.is_set():
                return {}
            model = _modelled(workbench, place, run, region, stop)
            _copyable(run, server, place, names, stage.example(region, heard), kept=kept)
            run.mark("live")
            since_ms = region.clock.now_ms()
            crowd = stage.live(
                server, world, names["api_key"], run.rate, run.until_s(), stop, quiet=run.headless or run.as_json
            )
            found = summary.summary_of(region, crowd, history, since_ms)
            url = server.url
        found |= {"model": model, **summary.checked(region, place.ledger)}
    run.mark("end")
    return {"url": url, "seconds": run.times, **found}


def _modelled(workbench: Workbench, place: Place, run: Run, region: Any, stop: Any) -> dict[str, Any]:  # noqa: ANN401
    """Trains every model of the playbook apart, and goes live with what passed."""
    from opportune.doors.cli.demo import stage

    playbook = workbench.load(place.folder)
    found: dict[str, Any] = {}
    for spec in playbook.models:
        if stop.is_set():
            break
        trained = stage.train_apart(place, spec.model, stop)
        metrics = trained.get("metrics", {})
        found = {
            "name": spec.model, "approved": trained.get("approved", False), "rows": trained.get("rows", 0),
            "metrics": {name: metrics[name] for name in sorted(metrics) if "." not in name},
            "seconds": trained["seconds"], "error": trained.get("error"),
        }  # fmt: skip
    if not found or stop.is_set():
        return found
    for approved in stage.approve_trained(region, playbook):
        run.tell(f"  approve {approved}: by `{stage.APPROVER}`, who did not train it")
    used = stage.model_release(region, playbook)
    auc = found["metrics"].get("auc")
    quality = "" if auc is None else f", AUC {auc:.3f}"
    state = "live" if used else f"not used, {found['error'] or 'a gate failed'}: the owners' priors decide"
    learned = f"{found['rows']:,} past offers{quality}"
    run.tell(f"  model   `{found['name']}` learned from {learned}: {state} ({run.mark('model')} s)")
    return found


def _opened(run: Run, server: Server, place: Place) -> None:
    run.tell(f"  opportune demo · {place.folder}")
    run.tell(f"  console {server.link()}  (one-time sign-in link)")
    run.tell(f"  api     {server.url}  ({run.times['url']} s after the start)")


def _copyable(
    run: Run, server: Server, place: Place, names: Any, question: dict[str, Any] | None, *, kept: bool  # noqa: ANN401
) -> None:
    """Lines to copy into another terminal; each works as it stands."""
    from opportune.doors.cli.demo.stage import program

    called = program()
    if question is not None:
        asked = json_text(question).replace("'", "'\\''")
        key = f"-H 'Authorization: Bearer {names['api_key']}'"
        run.tell(f"  decide  curl -s {server.url}/v1/decisions {key} -d '{asked}'")
        seen = {"messageId": "try-1", "userId": question["customer"]["id"], "event": "Page Viewed",
                "properties": {"name": "pricing"}}  # fmt: skip
        run.tell(f"  track   curl -s {server.url}/v1/track -u {names['write_key']}: -d '{json_text(seen)}'")
        run.tell("          (Segment-style: set any Segment SDK's host to the address above, and this write key)")
    run.tell(f"  verify  {called} audit verify --playbook {place.folder}")
    keep = f"{called} serve --playbook {place.folder}" if kept else f"{called} init my-playbook --sample saas"
    run.tell(f"  keep it {keep}")
    if run.seconds is None:
        run.tell("  stop    Ctrl-C")


def _told(run: Run, found: dict[str, Any]) -> None:
    if run.as_json:
        say(json_text(found))
        return
    from opportune.doors.cli.demo.summary import lines_of

    for line in lines_of(found):
        say(f"  {line}")


@contextlib.contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """The folder asked for, or one that is gone afterwards."""
    if folder is not None:
        if folder.exists() and any(folder.iterdir()):
            raise Refusal(f"`--dir {folder}` is not empty: name a new folder")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="opportune-demo-", ignore_cleanup_errors=True) as scratch:
        yield Path(scratch) / "playbook"


def _since_start_s() -> float:
    """Seconds since the kernel started this process; 0 where it does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)
    except (OSError, ValueError, AttributeError, IndexError):
        return 0.0
