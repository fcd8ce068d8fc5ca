"""`demo`: headless it ends with one document of figures; its statistics are those of the books."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from opportune.doors.cli.demo.summary import incremental, t_975
from opportune.doors.cli.demo.wire import Wire, WireError

from .called import ENTRY, call, shell


@pytest.mark.slow
def test_headless_ends_with_one_document_of_figures(tmp_path: Path) -> None:
    said = shell("demo", "--headless", "--seconds", "30", "--json", "--port", "7480", "--dir", tmp_path / "kept")
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 1
    found = said.json
    assert found["seconds"]["url"] < found["seconds"]["live"] < found["seconds"]["end"]
    assert found["signals"]["history"] >= 25_000
    assert found["signals"]["live"] > 100
    decisions = dict(found["decisions"])
    assert decisions.pop("total") >= 300
    assert len(decisions) >= 4
    assert found["errors"] == 0
    assert found["ledger"]["verified"]
    assert found["ledger"]["size"] == found["ledger"]["recorded"]
    assert found["replay"] == {"same": 300, "of": 300}
    assert found["offers_accepted"] == found["outcomes"]["accepted"] > 0
    assert found["incremental_revenue"]["units_holdout"] > 0
    assert found["model"]["rows"] > 1000
    assert call("audit", "verify", "--playbook", tmp_path / "kept").code == 0
    assert call("demo", "--dir", tmp_path / "kept").code == 2


@pytest.mark.slow
def test_an_interruption_ends_it_cleanly() -> None:
    process = subprocess.Popen(
        [str(ENTRY), "demo", "--port", "7490"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    opened = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert not Path(opened.split("·")[1].strip()).exists()


@pytest.mark.parametrize(("freedom", "expected"), [(5, 2.5706), (10, 2.2281), (30, 2.0423), (200, 1.9719)])
def test_the_quantile_is_that_of_the_tables(freedom: float, expected: float) -> None:
    assert t_975(freedom) == pytest.approx(expected, abs=0.003)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(1)
    covered = 0
    for _ in range(400):
        rows = [(f"a{n}", False, rng.gauss(30, 10)) for n in range(80)]
        rows += [(f"h{n}", True, rng.gauss(20, 25)) for n in range(15)]
        found = incremental(rows, "EUR")
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 10 <= found.high
    assert 365 <= covered <= 395


def test_too_few_units_get_no_interval() -> None:
    found = incremental([("a", False, 10.0), ("b", True, 0.0)], "EUR")
    assert (found.per_unit, found.low, found.units_holdout) == (None, None, 1)
    assert "too few" in found.note


def test_equal_groups_without_spread_differ_by_nothing() -> None:
    found = incremental([(str(n), n % 2 == 0, 0.0) for n in range(40)], "EUR")
    assert (found.per_unit, found.low, found.high) == (0.0, 0.0, 0.0)
    assert "narrower than it should be" in found.note


def test_the_client_reads_answers_and_refuses_what_is_none() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b"close" in body:
                writer.close()
                return
            writer.write(b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def work() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        wire = Wire("127.0.0.1", server.sockets[0].getsockname()[1], "k")
        assert await wire.post("/x", {"a": [1]}) == (422, {"a": [1]})
        assert await wire.post("/x", {"b": 2}) == (422, {"b": 2})
        with pytest.raises(WireError, match="closed the connection"):
            await wire.post("/x", "close")
        wire.close()
        server.close()

    asyncio.run(work())


def test_the_clock_of_a_run_begins_with_the_process() -> None:
    from opportune.doors.cli.showing import _since_start_s

    since = _since_start_s()
    assert 0.0 < since < time.monotonic() + 1e9
    assert json.dumps(since)
