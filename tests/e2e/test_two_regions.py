"""Two regions of one playbook, each a real server: nothing of one is ever in the other's files, whoever tries.

Every customer of a region carries a canary in every field. They come in by HTTP, Segment's calls, files and tables; are
decided, explained and read; and everything is also sent to the other region, in every form there is. In the middle both
servers are killed. Then every file of each region is searched, as bytes and opened with the region's own keys.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
from served import Reply, Served, opportune

from opportune.verifier import verify_log
from opportune.wiring import data_folder, open_for_reading

pytestmark = pytest.mark.slow

REGIONS = ("eu", "us")
OTHER = {"eu": "us", "us": "eu"}
HOMES = """\
sources:
  - source: homes
    title: Calls and tables that say where their customer lives
    owner: tests
    tables: {people: people.csv}
    signals:
      - rows: people
        type: person.updated
        id: row.id
        time: row.at
        subject: row.id
        region: row.home
        data:
          name: row.name
    payloads:
      - event: $identify
        type: person.updated
        vendor: segment
        region: traits.home
"""


def canary(region: str, what: str = "") -> str:
    return f"canary-of-{region}-{what}"


def fact(whose: str, id_: str, /, type_: str = "person.updated", data: object = None, **more: Any) -> dict[str, Any]:
    """A CloudEvent about a customer of a region, with a canary wherever text may stand."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    said = {"name": canary(whose, "name"), "email": f"{canary(whose, 'mail')}-{id_}@example.org"}
    return {
        "specversion": "1.0", "id": canary(whose, id_), "source": "crm", "type": type_, "time": now,
        "subject": canary(whose, "ada"), "account": canary(whose, "company"),
        "data": said if data is None else data, **more,
    }  # fmt: skip


def identify(region: str, id_: str) -> dict[str, Any]:
    traits = {"home": region, "name": canary(region, "segment-name")}
    return {"type": "identify", "messageId": canary(region, id_), "userId": canary(region, "seg"), "traits": traits}


class Town:
    """The playbook with two regions and their servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.playbook = folder / "playbook"
        opportune("init", self.playbook)
        settings = self.playbook / "opportune.yaml"
        text = settings.read_text()
        assert "region: eu\n" in text
        settings.write_text(text.replace("region: eu\n", "region: eu\nregions: [eu, us]\n"))
        (self.playbook / "sources/homes.yaml").write_text(HOMES)
        assert opportune("check", "--playbook", self.playbook)["ok"]
        self.data = data_folder(self.playbook)
        self.up: dict[str, Served] = {}
        self.decisions: dict[str, str] = {}

    def start(self, region: str) -> Served:
        self.up[region] = Served(self.playbook, region, self.log(region))
        return self.up[region]

    def log(self, region: str) -> Path:
        return self.folder / f"{region}.log"

    def command(self, region: str, *arguments: str | Path, codes: tuple[int, ...] = (0,)) -> Any:
        return opportune(*arguments, "--playbook", self.playbook, "--region", region, codes=codes)

    def refusals(self, region: str) -> Counter[tuple[str, str]]:
        """How many attempts the ledger of a region knows, by (door, region asked for)."""
        found: Counter[tuple[str, str]] = Counter()
        for one in self.entries(region):
            assert one["region"] == region
            if one["type"] == "refusal":
                found[one["door"], one["asked"]] += one["count"]
        return found

    def entries(self, region: str) -> list[dict[str, Any]]:
        opened = open_for_reading(self.data, "larkfield", region)
        try:
            return [json.loads(leaf) for leaf in opened.records.leaves(0, opened.records.leaf_count())]
        finally:
            opened.records.close()

    def everything(self, region: str) -> bytes:
        """Every row of a region's store, opened with its own keys, as one text."""
        opened = open_for_reading(self.data, "larkfield", region)
        records = opened.records
        try:
            signals, people = list(records.signals()), list(records.people())
            accounts = {one.signal.account for one in signals if one.signal.account is not None}
            decisions = records.decisions(1_000_000)
            rows: list[object] = [
                *signals, *people, *map(records.account, sorted(accounts)), *records.quarantined(1_000_000), *decisions,
                *(outcome for one in decisions for outcome in records.outcomes(one.id)),
                *(review for status in ("open", "done") for review in records.reviews(status, 1_000_000)),
                *(merge for one in people for merge in records.merges_of(one.id)),
                *records.proposals("open", 1_000_000), *records.accesses(1_000_000),
                *records.actions(("queued", "sending", "sent", "failed"), 2**62, 1_000_000),
                *records.leaves(0, records.leaf_count()),
            ]  # fmt: skip
            assert len(signals) == records.counts()["signals"]
            assert len(people) == records.counts()["people"]
            return b"\n".join(
                one if isinstance(one, bytes) else repr(msgspec.to_builtins(one)).encode() for one in rows
            )
        finally:
            records.close()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    try:
        yield made
    finally:
        for served in made.up.values():
            served.kill()


def ok(reply: Reply) -> Any:
    assert reply.status == 200, reply
    return reply.json()


def live_here(town: Town, region: str, round_: int) -> None:
    """What a customer of the region does at home: everything is taken, but for what is wrong in itself."""
    served = town.up[region]
    client = served.client()
    one = ok(client.post("/v1/signals", fact(region, f"{round_}-1", region=region)))
    assert one["accepted"] == 1
    consent = fact(region, f"{round_}-2", "consent.given", {"purpose": "marketing", "channels": ["*"]})
    batch = [consent, fact(region, f"{round_}-3"), fact(region, f"{round_}-4", "no.such_type", region=region)]
    assert [r["status"] for r in ok(client.post("/v1/signals", batch))["receipts"]] == [
        "accepted", "accepted", "quarantined"
    ]  # fmt: skip
    assert client.post("/v1/signals", fact(region, f"{round_}-5", data=[canary(region)])).status == 422
    assert ok(client.post("/v1/identify", identify(region, f"{round_}-6")))["accepted"] == 1
    question = {"customer": {"id": canary(region, "ada")}, "moment": "page.pricing_viewed", "budget_ms": 10_000}
    answer = ok(client.post("/v1/decisions", question))
    assert answer["region"] == region
    town.decisions[region] = answer["decision_id"]
    assert ok(client.get(f"/v1/customers/{canary(region, 'ada')}"))["region"] == region
    bought = {
        "customer": canary(region, "ada"),
        "kind": "converted",
        "amount": 10,
        "id": canary(region, f"bill-{round_}"),
    }
    assert client.post("/v1/outcomes", bought).status == 200
    client.close()
    assert town.command(region, "explain", answer["decision_id"])["region"] == region
    assert town.command(region, "replay", answer["decision_id"])["same"] == 1


def crossings(
    other: str, keys: Mapping[str, str], round_: int
) -> Iterator[tuple[str, str, str, object, dict[str, str]]]:
    """Every way to bring what belongs to `other` to the wrong door: (door, method, path, body, headers)."""
    named, queried = {"opportune-region": other}, f"?region={other}"
    foreign, write = {"authorization": f"Bearer {keys['api_key']}"}, {"writeKey": keys["write_key"]}
    who = canary(other, "ada")
    question = {"customer": {"id": who}, "moment": "page.pricing_viewed"}
    for number, (path, headers) in enumerate(((queried, {}), ("", named), ("", foreign))):
        yield "signals", "POST", f"/v1/signals{path}", fact(other, f"x{round_}-{number}"), headers
        yield "signals", "POST", f"/v1/signals{path}", [fact(other, f"y{round_}-{number}")] * 3, headers
        yield "decisions", "POST", f"/v1/decisions{path}", question, headers
        yield "decisions", "POST", f"/v1/decisions/preview{path}", question, headers
        yield "outcomes", "POST", f"/v1/outcomes{path}", {"customer": who, "kind": "converted", "amount": 1}, headers
        yield "customers", "GET", f"/v1/customers/{who}{path}", None, headers
        yield "customers", "PUT", f"/v1/customers/{who}/consents{path}", {"status": "given"}, headers
        yield "http", "POST", f"/v1/track{path}", {"userId": who, "event": who}, headers
        yield "hooks", "POST", f"/v1/hooks/stripe{path}", {"id": who}, headers
    yield "http", "POST", "/v1/track", {"userId": who, "event": who, **write}, {"authorization": ""}
    yield "http", "GET", f"/v1/projects/{keys['write_key']}/settings", None, {"authorization": ""}
    yield "signals", "POST", "/v1/signals", fact(other, f"z{round_}-1", region=other), {}
    yield "signals", "POST", "/v1/signals", fact(other, f"z{round_}-2", "no.such_type", region=other), {}
    yield "signals", "POST", "/v1/signals", {"name": who}, {
        "ce-specversion": "1.0", "ce-id": f"{who}-z{round_}-3", "ce-source": "crm", "ce-type": "person.updated",
        "ce-subject": who, "ce-region": other,
    }  # fmt: skip
    yield "segment", "POST", "/v1/identify", identify(other, f"z{round_}-4"), {}


def cross(town: Town, here: str, round_: int) -> Counter[tuple[str, str]]:
    """Tries everything at the door of `here`; how many attempts were made, as the ledger counts them."""
    other = OTHER[here]
    client = town.up[here].client()
    made: Counter[tuple[str, str]] = Counter()
    for door, method, path, body, headers in crossings(other, town.up[other].keys, round_):
        reply = client.send(method, path, body, headers)
        assert reply.status == 403, (path, reply)
        problem = reply.json()
        assert problem["type"].endswith("/wrong-region"), (path, reply)
        assert f"belongs to `{other}`, and `{here}` answered" in problem["detail"]
        assert f"`opportune serve --region {other}`" in problem["detail"]
        assert problem["errors"]
        assert canary(other) not in reply.body.decode()
        made[door, other] += 1
    mixed = [fact(other, f"m{round_}-1", region=other), fact(here, f"m{round_}-2", region=here),
             fact(other, f"m{round_}-3", "no.such_type", region=other)]  # fmt: skip
    receipts = ok(client.post("/v1/signals", mixed))["receipts"]
    assert [one["status"] for one in receipts] == ["rejected", "accepted", "rejected"]
    assert {(one["code"], one["field"]) for r in receipts for one in r.get("problems", ())} == {
        ("wrong_region", "region")
    }
    calls = {"batch": [identify(other, f"m{round_}-4"), identify(here, f"m{round_}-5")]}
    assert [one["status"] for one in ok(client.post("/v1/batch", calls))["receipts"]] == ["rejected", "accepted"]
    unknown = client.get(f"/v1/customers/{canary(other, 'ada')}")
    assert unknown.status == 404
    client.close()
    made["signals", other] += 2
    made["segment", other] += 1
    return made


def bring_files(town: Town, here: str, round_: int) -> Counter[tuple[str, str]]:
    """Files with customers of both regions, by the command line: each region takes its own."""
    other = OTHER[here]
    events = town.folder / f"{here}-{round_}.ndjson"
    sent = [fact(here, f"f{round_}", region=here), fact(other, f"f{round_}", region=other)]
    events.write_text("\n".join(map(json.dumps, sent)))
    tables = town.folder / f"tables-{here}-{round_}"
    tables.mkdir()
    rows = [f"{canary(region, f't{round_}')},2026-01-01,{region},{canary(region, 'row')}" for region in REGIONS]
    rows.append(
        f"{canary('eu', f'u{round_}')},2026-01-01,,{canary('eu', 'row')}"
    )  # the home region, as nothing is said
    (tables / "people.csv").write_text("\n".join(["id,at,home,name", *rows]))

    found = town.command(here, "ingest", events)
    assert (found["accepted"], found["rejected"]) == (1, 1)
    found = town.command(here, "ingest", tables, "--source", "homes")
    assert (found["accepted"], found["rejected"]) == ((2, 1) if here == "eu" else (1, 2))
    assert found["quarantined"] == 0
    return Counter({("ingest", other): 2 if here == "eu" else 3})


def storm(town: Town, here: str, stop: Event, told: Counter[str]) -> None:
    """Own and foreign customers at once, until the server is gone."""
    other, number = OTHER[here], 0
    try:
        client = town.up[here].client()
        while not stop.is_set():
            number += 1
            both = [fact(here, f"s{number}", region=here), fact(other, f"s{number}", region=other)]
            ok(client.post("/v1/signals", both))
            client.send("POST", f"/v1/decisions?region={other}", {"customer": {"id": canary(other, "ada")}})
            told[here] += 1
    except (OSError, HTTPException):
        return


def killed_in_the_middle(town: Town) -> None:
    stop: Event = Event()
    told: Counter[str] = Counter()
    threads = [Thread(target=storm, args=(town, region, stop, told)) for region in REGIONS]
    for thread in threads:
        thread.start()
    client = town.up["us"].client()
    while min(told[region] for region in REGIONS) < 20:
        ok(client.get("/readyz"))
    client.close()
    for region in REGIONS:
        town.up.pop(region).kill()
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def found_in(folder: Path, text: str, besides: tuple[str, ...] = ()) -> list[str]:
    """The files below a folder that hold a text in their content or name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files
    return [
        str(path)
        for path in files
        if path.relative_to(folder).parts[0] not in besides
        and (text.encode() in path.read_bytes() or text in path.name)
    ]


def test_nothing_of_a_region_is_ever_in_the_other(town: Town) -> None:
    """One writer, one set of keys and one ledger each, served side by side from one folder."""
    made: dict[str, Counter[tuple[str, str]]] = {region: Counter() for region in REGIONS}
    for region in REGIONS:
        made[region] += bring_files(town, region, 1)
        town.start(region)
    assert [town.up[region].said["region"] for region in REGIONS] == ["eu", "us"]
    assert town.up["eu"].said["keys"] == str(town.data / "api_keys.json")
    assert town.up["us"].said["keys"] == str(town.data / "us/api_keys.json")
    assert town.up["us"].key.startswith("opp_us_")
    for region in REGIONS:
        live_here(town, region, 1)
    for region in REGIONS:
        made[region] += cross(town, region, 1)
    crossing_commands(town)
    assert [town.up.pop(region).stop() for region in REGIONS] == [0, 0]
    for region in REGIONS:
        assert town.refusals(region) == made[region]

    for region in REGIONS:
        town.start(region)
    killed_in_the_middle(town)
    before = {region: town.refusals(region) for region in REGIONS}
    for region in REGIONS:
        made[region] = bring_files(town, region, 2)
        town.start(region)
    for region in REGIONS:
        live_here(town, region, 2)
        made[region] += cross(town, region, 2)
    assert [town.up.pop(region).stop() for region in REGIONS] == [0, 0]

    for region in REGIONS:
        assert town.refusals(region) - before[region] == made[region]
        assert town.command(region, "audit", "verify")["ok"]
        assert town.command(region, "replay", "--last", "100")["different"] == []
        assert town.command(region, "doctor", codes=(0, 1))["checks"]
        nothing_of(town, OTHER[region], region)


def crossing_commands(town: Town) -> None:
    """By the command line: no such region, and no decision of one region is known to the other."""
    refused = town.command("mars", "releases", codes=(2,))
    assert refused["error"] == "`--region mars` is no region of the playbook: it has eu, us"
    for region in REGIONS:
        answer = town.command(region, "explain", town.decisions[OTHER[region]], codes=(2,))
        assert "no decision" in answer["error"]
        shown = town.command(region, "quarantine")
        assert canary(OTHER[region]) not in json.dumps(shown)
    assert "is `opportune serve` running?" in town.command("us", "rollback", codes=(2,))["error"]


def nothing_of(town: Town, other: str, region: str) -> None:
    """Of the other region: in no file of this one as bytes, in no row of its store opened with its keys, in no log."""
    stores, text = town.data / region, canary(other)
    assert found_in(stores, text) == []
    assert found_in(town.data, text, besides=(other,)) == []
    opened = town.everything(region)
    assert text.encode() not in opened
    assert opened.count(canary(region).encode()) > 100  # the search does find what is there
    assert text not in town.log(region).read_text()
    report = verify_log(stores / "ledger", vkey_of(town, region))
    assert report.ok, report.findings
    assert report.origin.endswith(f"/{region}")
    assert not verify_log(stores / "ledger", vkey_of(town, other)).ok


def vkey_of(town: Town, region: str) -> str:
    opened = open_for_reading(town.data, "larkfield", region)
    try:
        return opened.ledger.vkey
    finally:
        opened.records.close()
