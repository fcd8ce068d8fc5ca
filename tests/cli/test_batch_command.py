"""`decide --batch`: a file in, a file out; from the file or from what is stored; recorded only when told to."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from opportune.core.decisions.batch import DISPOSITIONS, REASONS, RowBrain
from opportune.core.decisions.batch_rows import rows_of_seen
from opportune.core.decisions.records import decode_record
from opportune.flows.region import Region
from opportune.wiring import open_for_reading

from .called import call

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

MOMENT = "page.pricing_viewed"


@pytest.fixture
def region(company: Path) -> Iterator[Region]:
    region = open_for_reading(company / ".opportune", "larkfield", "eu")
    yield region
    region.records.close()


def customers(region: Region, count: int = 60) -> list[str]:
    return sorted({one.customer for one in region.records.decisions(1_000)})[:count]


def written(path: Path, header: list[str], *rows: list[Any]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def answers_of(path: Path) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT * FROM '{path}'")
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_customers_alone_are_looked_up_and_nothing_is_written(company: Path, region: Region, tmp_path: Path) -> None:
    """One row of answers for each, in order; who is unknown has an empty row; twice the same answers."""
    ids = customers(region)
    before = region.records.decisions(1)[0].id
    path = written(tmp_path / "in.csv", ["customer"], *([one] for one in [*ids, "nobody"]))
    outs = [tmp_path / "one.parquet", tmp_path / "two.csv"]
    for out in outs:
        said = call("decide", "--batch", path, "--moment", MOMENT, "--playbook", company, "--out", out, "--json")
        assert said.code == 0, said.err
        found = said.json
        assert (found["customers"], found["unknown"], found["recorded"]) == (len(ids) + 1, 1, False)
        assert sum(one["count"] for one in found["mix"]) == len(ids)
    rows = answers_of(outs[0])

    assert [row["customer"] for row in rows] == [*ids, "nobody"]
    assert {row["disposition"] for row in rows[:-1]} >= {"offered", "no_offer"}
    assert {name for name, value in rows[-1].items() if value is not None} == {"customer"}
    assert [row["disposition"] for row in answers_of(outs[1])] == [row["disposition"] for row in rows]
    assert [row["offer"] for row in answers_of(outs[1])] == [row["offer"] for row in rows]
    assert region.records.decisions(1)[0].id == before
    shown = call("decide", "--batch", path, "--moment", MOMENT, "--playbook", company)
    assert "nothing recorded" in shown.out
    assert "`--record` does that" in shown.err


def test_recorded_ones_are_decisions_like_all_others(playbook: Path, tmp_path: Path, company: Path) -> None:
    """Each is in the ledger, equals the batch's answer over what it saw, and is made once under one name."""
    events = company.parent / "history.ndjson"
    small = tmp_path / "some.ndjson"
    small.write_text("\n".join(events.read_text().splitlines()[:3_000]))
    assert call("ingest", small, "--playbook", playbook).code == 0
    region = open_for_reading(playbook / ".opportune", "larkfield", "eu")
    try:
        ids = sorted({one.signal.customer for one in region.records.signals() if one.signal.customer})[:60]
        path = written(tmp_path / "in.csv", ["customer"], *([one] for one in ids))
        outs = [tmp_path / "one.csv", tmp_path / "two.csv"]
        for out in outs:
            said = call(
                "decide", "--batch", path, "--moment", MOMENT, "--playbook", playbook, "--record", "--out", out
            )
            assert said.code == 0, said.err
            assert "all recorded" in said.out
        rows, again = (answers_of(out) for out in outs)
        assert [row["decision"] for row in rows] == [row["decision"] for row in again]
        assert len(region.records.decisions(1_000)) == len({row["decision"] for row in rows}) == len(ids)
        check_records(region, rows)
    finally:
        region.records.close()
    assert call("audit", "verify", "--playbook", playbook).code == 0


def check_records(region: Region, rows: list[dict[str, Any]]) -> None:
    """What the table evaluation says of what each decision saw is what was recorded and told."""
    for row in rows:
        stored = region.records.decision(row["decision"])
        assert stored is not None
        record = decode_record(stored.record)
        brain = region.releases.brain_of(record.release)
        seen = rows_of_seen(brain, MOMENT, record.asked.channels, [record.id], [record.seen], [record.asked.context])
        answers = RowBrain(brain).decide(seen)
        result = record.result

        assert (DISPOSITIONS[answers.disposition[0]], REASONS[answers.reason[0]]) == (result.disposition, result.reason)
        assert (row["disposition"], row["reason"]) == (result.disposition, result.reason)
        assert (row["offer"], row["channel"]) == (result.offer, result.channel)
        assert answers.value[0] == row["value"] == result.value
        assert answers.probability[0] == row["action_probability"] == result.action_probability
        if result.confidence is not None:
            assert answers.confidence[0] == row["confidence"] == result.confidence
            assert (answers.p_accept[0], answers.uplift[0]) == (row["p_accept"], row["uplift"])


PLAIN = {"int": "1", "double": "1.0", "bool": "false", "string": "'owner'"}


def test_what_the_file_says_counts(company: Path, region: Region, tmp_path: Path) -> None:
    """Nobody is looked up: customers nobody knows, features and consents of the file, the rest missing."""
    path = tmp_path / "in.parquet"
    types = region.releases.brain().views.types
    features = "".join(
        f", {PLAIN[type_]} AS {name}" for name, type_ in types.items() if type_ in PLAIN and name != "usage_7d"
    )
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'x' || i AS customer, 'acc' || i AS account, 'Europe/Berlin' AS timezone, "
            f"CASE WHEN i % 2 = 0 THEN 'given' ELSE 'withdrawn' END AS \"consent.marketing/in_app\"{features} "
            f"FROM range(500) r(i)) TO '{path}' (FORMAT parquet)"
        )
    arguments = ("decide", "--batch", path, "--moment", MOMENT, "--channel", "in_app", "--playbook", company)
    found = call(*arguments, "--json").json
    mix = {(one["disposition"], one["reason"]): one["count"] for one in found["mix"]}

    assert (found["customers"], found["unknown"]) == (500, 0)
    assert mix["no_offer", "NO_CONSENT"] == 250, mix
    assert "usage_7d" in found["features_missing"]
    assert "seats" not in found["features_missing"]
    assert "contact limits count none" in call(*arguments).err
    refused = call(*arguments, "--record")
    assert refused.code == 2
    assert "leave `--record` out, or the columns" in refused.err


REFUSED = [
    (["seats"], [["1"]], "has no column `customer`"),
    (["customer", "seat"], [["a", "1"]], "column `seat`: the release knows no such name; did you mean `seats`?"),
    (["customer", "seats"], [["a", "1"], ["b", "many"]], "column `seats`, row 2: the value is no int"),
    (["customer", "seats"], [["a", "1"], ["b", "1.5"]], "column `seats`, row 2: the value is no int"),
    (["customer", "role"], [["a", "x"], ["", "x"]], "column `customer`, row 2: there is no customer"),
    (["customer", "has_sso"], [["a", "3"]], "column `has_sso`: it holds int, and bool is declared: convert it"),
    (["customer", "timezone"], [["a", "Mars/Base"]], "column `timezone`, row 1: `Mars/Base` is not a time zone"),
    (["customer", "consent.marketing/in_app"], [["a", "given"], ["b", "yes"]], "row 2: a consent is one of given,"),
    (["customer", "consent.marketing/inapp"], [["a", "given"]], "did you mean `consent.marketing/in_app`?"),
    (["customer", "context.pagge"], [["a", "x"]], "did you mean `context.page`?"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "rows", "words"), REFUSED)
def test_a_file_that_does_not_fit_is_refused_by_name(
    company: Path, tmp_path: Path, header: list[str], rows: list[list[str]], words: str
) -> None:
    """One sentence with the file, the column and the row; exit code 2, and no file of answers."""
    path = written(tmp_path / "in.csv", header, *rows)
    said = call(
        "decide", "--batch", path, "--moment", MOMENT, "--playbook", company, "--out", tmp_path / "out.csv"
    )

    assert said.code == 2
    assert str(path) in said.err
    assert words in said.err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch", "no.csv", "--moment", MOMENT], "`no.csv` is no file"),
        (["--batch", "no.csv"], "say at which moment"),
        (["--batch", "no.csv", "--moment", MOMENT, "--record", "--preview"], "exclude each other"),
        (["ann", "--batch", "no.csv", "--moment", MOMENT], "name one CUSTOMER"),
        (["ann", "--moment", MOMENT, "--out", "x.csv"], "belong to `--batch FILE`"),
    ],
)
def test_what_cannot_be_asked_is_refused(company: Path, arguments: list[str], words: str) -> None:
    said = call("decide", *arguments, "--playbook", company)
    assert said.code == 2
    assert words in said.err
