"""One online read of 40 features for a person and an account: ours beside Feast on SQLite and on Redis."""

from __future__ import annotations

import gc
import json
import random
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import synthetic
from benchmarks.peers.environment import NoPeers
from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.sqlite.reading import SqliteReading
from opportune.core.features import CompiledViews, FeatureSpec, FeatureView, encode_state
from opportune.core.playbook import Playbook
from opportune.core.signals import Draft, format_time
from opportune.flows.region import Region
from opportune.wiring import RECORDS, open_region, vault_of

REGION = "eu"
SIGNALS_EACH = 40
ROUNDS = 3
CHECKED = 100
PEER = Path(__file__).with_name("peers") / "feast_peer.py"
DAY_MS = 86_400_000


def playbook() -> Playbook:
    """The synthetic playbook, its 40 features shared out: 20 of the person, 20 of the account, 12 of all derived."""
    book = synthetic.playbook()
    specs = {spec.id: spec for spec in book.views[0].features}
    person = [specs[name] for name in ("plan", *(f"f{n}" for n in range(14)), *(f"d{n}" for n in range(5)))]
    account = [specs[f"f{n}"] for n in range(14, 27)]
    account += [
        FeatureSpec(id=f"d{n}", derive=f"double(f{n + 9} + 1) / double(f{n + 10} + 1)", type="double")
        for n in range(5, 12)
    ]
    views = (_view("bench_person", "person", person), _view("bench_account", "account", account))
    return msgspec.structs.replace(book, views=views)


def _view(name: str, entity: Any, specs: Sequence[FeatureSpec]) -> FeatureView:  # noqa: ANN401
    return FeatureView(
        view=name, version=1, entity=entity, owner="bench", purposes=("marketing",), features=tuple(specs)
    )


def history(customers: int, now_ms: int, seed: int = 3) -> Iterator[Draft]:
    """Consent and usage of every customer, spread over the longest window (28 days), in time order for each."""
    rng = random.Random(seed)
    for number in range(customers):
        who: dict[str, Any] = {"subject": f"c{number}", "account": f"a{number}"}
        began = format_time(now_ms - 28 * DAY_MS)
        yield Draft("bench", f"consent-{number}", "consent.given", began, **who, data={"channels": ["*"]})
        for step, back in enumerate(sorted((rng.randrange(1, 28 * DAY_MS) for _ in range(SIGNALS_EACH)), reverse=True)):
            data = {"count": rng.randrange(1, 60), "plan": rng.choice(["team", "business"])}
            yield Draft("bench", f"use-{number}-{step}", "usage.recorded", format_time(now_ms - back), **who, data=data)


def prepare(folder: Path, customers: int) -> tuple[Region, CompiledViews]:
    """A region with that playbook, whose customers' signals came in through the real ingest."""
    region = open_region(folder, "bench", REGION)
    book = playbook()
    release = region.release(book, [])
    region.promote(release.hash, "bench", "bench")
    waiting = list(history(customers, region.clock.now_ms()))
    for start in range(0, len(waiting), 1000):
        receipts = region.ingest.run(waiting[start : start + 1000])
        assert all(one.status == "accepted" for one in receipts), receipts[0]
    region.start()
    return region, release.views


class Ours:
    """Reads as a decision does: the person, the account it belongs to, then all features of both at one time."""

    def __init__(self, records: SqliteRecords, views: CompiledViews, customers: int) -> None:
        self.records, self.views = records, views
        self.ids = [f"c{number}" for number in range(customers)]
        self.at = 0

    def run(self, seconds: float) -> list[float]:
        """Microseconds of each read."""
        person_of, account_of, read, ids = self.records.person, self.records.account, self.views.read, self.ids
        taken: list[float] = []
        end, at = time.perf_counter() + seconds, self.at
        while time.perf_counter() < end:
            id_ = ids[at % len(ids)]
            at += 1
            began = time.perf_counter()
            person = person_of(id_)
            assert person is not None
            assert person.account is not None
            account = account_of(person.account)
            assert account is not None
            read(person.features, account.features, int(time.time() * 1000))
            taken.append((time.perf_counter() - began) * 1e6)
        self.at = at
        return taken


class Feast:
    """The peer's process with one online store; every command is one line, every answer one line of JSON."""

    def __init__(self, python: Path, values: Path, folder: Path, online: dict[str, str]) -> None:
        self.log = folder.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(python), "-W", "ignore", str(PEER), str(values), str(folder), json.dumps(online)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.version: str = self._answer()["version"]

    def check(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask(f"check {count}")
        return found

    def run(self, seconds: float) -> dict[str, list[float]]:
        found: dict[str, list[float]] = self._ask(f"run {seconds}")
        return found

    def close(self) -> None:
        if self.process.poll() is None and self.process.stdin is not None:
            self.process.stdin.write("end\n")
            self.process.stdin.close()
        self.process.wait(30)

    def _ask(self, command: str) -> Any:  # noqa: ANN401 - JSON
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:  # noqa: ANN401 - JSON
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(("{", "[")):
                return json.loads(line)
        self.process.wait(30)
        said = " | ".join(self.log.read_text().splitlines()[-3:])
        raise NoPeers(f"Feast ended with {self.process.returncode}: {said}")


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """`host:port` of a Redis server of our own, in memory only."""
    program = shutil.which("redis-server")
    if program is None:
        raise NoPeers("there is no `redis-server` on this machine: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def measure(seconds: float, customers: int, python: Path | None) -> dict[str, Any]:
    """All sides in turns, `ROUNDS` times; the values Feast keeps are ours, and a sample is compared first."""
    with ExitStack() as stack:
        stack.callback(gc.unfreeze)  # a region that starts freezes what is loaded
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        region, views = prepare(folder, customers)
        stack.callback(region.close)
        assert isinstance(region.records, SqliteRecords)
        file = folder / REGION / RECORDS
        beside = SqliteReading(file, vault_of(folder / REGION))
        stack.callback(beside.close)
        sides: dict[str, Callable[[float], list[float]]] = {
            "opportune, states in memory": Ours(region.records, views, customers).run,
            "opportune, states from SQLite": Ours(beside, views, customers).run,
        }
        found: dict[str, Any] = {"customers": customers, "features": len(views.names), "left_out": []}
        if python is not None:
            values = _values(region.records, views, customers)
            (folder / "values.json").write_text(json.dumps(values))
            for kind in ("sqlite", "redis"):
                try:
                    feast = _feast(stack, python, folder, kind)
                except NoPeers as error:
                    found["left_out"].append(f"Feast on {kind}: {error}")
                    continue
                _compare(feast.check(CHECKED), values)
                found["feast"] = feast.version
                sides |= _timed(feast, kind)
        for run in sides.values():
            run(min(seconds, 1.0))
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, run in sides.items():
                taken[name] += run(seconds / ROUNDS)
        found["sides"] = {name: figures(each) for name, each in taken.items()}
        found["state"] = state_sizes(file, region.records, customers)
        return found


def figures(taken_us: Sequence[float]) -> dict[str, float]:
    """How many, how many a second, and the median and 99th percentile in microseconds."""
    ordered = sorted(taken_us)
    return {
        "reads": len(ordered), "per_second": len(ordered) / sum(ordered) * 1e6,
        "p50_us": ordered[len(ordered) // 2], "p99_us": ordered[int(len(ordered) * 0.99)],
    }  # fmt: skip


def _feast(stack: ExitStack, python: Path, folder: Path, kind: str) -> Feast:
    online = {"type": "sqlite", "path": str(folder / "feast-online.db")}
    if kind == "redis":
        online = {"type": "redis", "connection_string": stack.enter_context(redis_server(folder))}
    feast = Feast(python, folder / "values.json", folder / f"feast-{kind}", online)
    stack.callback(feast.close)
    return feast


def _timed(feast: Feast, kind: str) -> dict[str, Callable[[float], list[float]]]:
    """With `to_dict`, which is how a caller comes by the values; the call alone is timed in the same run."""
    calls: list[float] = []

    def whole(seconds: float) -> list[float]:
        found = feast.run(seconds)
        calls[:] = found["call_us"]
        return found["whole_us"]

    def alone(seconds: float) -> list[float]:
        return list(calls)

    return {f"Feast on {kind}": whole, f"Feast on {kind}, without to_dict": alone}


def _values(records: SqliteRecords, views: CompiledViews, customers: int) -> dict[str, Any]:
    """Every customer's 40 values as of now, by entity, for the peer to keep."""
    now_ms = int(time.time() * 1000)
    names = {
        entity: [name for name in views.names if views.features[name].entity == entity]
        for entity in ("person", "account")
    }
    found: dict[str, Any] = {
        entity: {"types": {name: views.types[name] for name in each}, "rows": []} for entity, each in names.items()
    }
    found["pairs"] = []
    for number in range(customers):
        person, account = records.person(f"c{number}"), records.account(f"a{number}")
        assert person is not None
        assert account is not None
        vector = dict(zip(views.names, views.read(person.features, account.features, now_ms).values, strict=True))
        for entity, id_ in (("person", person.id), ("account", account.id)):
            found[entity]["rows"].append([id_, *(vector[name] for name in names[entity])])
        found["pairs"].append([person.id, account.id])
    return found


def _compare(read: Sequence[dict[str, Any]], values: dict[str, Any]) -> None:
    """The peer answers what it was given, or there is nothing to compare."""
    for number, one in enumerate(read):
        for entity in ("person", "account"):
            id_, *expected = values[entity]["rows"][number]
            got = [one[name] for name in values[entity]["types"]]
            assert got == expected, f"Feast answers other values for {id_}: {got} instead of {expected}"


def state_sizes(file: Path, records: SqliteRecords, customers: int) -> dict[str, float]:
    """Bytes for one customer: the cells of person and account, and both whole as sealed rows of the store."""
    cells = []
    for number in range(customers):
        person, account = records.person(f"c{number}"), records.account(f"a{number}")
        features = [one.features for one in (person, account) if one is not None and one.features is not None]
        cells.append(sum(len(encode_state(each)) for each in features))
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        (rows,) = connection.execute(
            "SELECT (SELECT sum(length(state)) FROM people) + (SELECT sum(length(state)) FROM accounts)"
        ).fetchone()
    cells.sort()
    return {"mean": sum(cells) / customers, "largest": cells[-1], "sealed_rows_mean": rows / customers}
