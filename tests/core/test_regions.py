"""Regions in the core: names, keys, who is elsewhere, and what a source says about where its customers live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from opportune.adapters.playbook.examine import examine
from opportune.core.payloads import Call, compile_payloads, drafts_of_call
from opportune.core.playbook import PayloadMapping, SignalMapping, Source
from opportune.core.residency import UNTOLD, elsewhere, is_region_name, refusal, region_of_key
from opportune.core.signals import Draft, SignalContract
from opportune.core.sources import compile_source, drafts

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[2] / "samples/saas"


@pytest.mark.parametrize(
    ("name", "good"),
    [("eu", True), ("eu-west-1", True), ("x", True), ("EU", False), ("1eu", False), ("eu_west", False), ("", False),
     ("../us", False), ("eu\n", False)],
)  # fmt: skip
def test_names_of_regions(name: str, good: bool) -> None:
    assert is_region_name(name) is good


@pytest.mark.parametrize(
    ("key", "region"),
    [("opp_us_abc-_D", "us"), ("wk_eu-west-1_x", "eu-west-1"), ("opp_Zk3-abc", None), ("opp_US_abc", None),
     ("sk_us_abc", None), ("opp_us_", None), ("", None)],
)  # fmt: skip
def test_a_key_says_where_it_belongs(key: str, region: str | None) -> None:
    assert region_of_key(key) == region


@pytest.mark.parametrize(
    ("said", "here", "asked"),
    [(None, "us", None), ("us", "us", None), ("us", "eu", "us"), ("", "eu", None), ("", "us", "eu"), (UNTOLD, "eu", ""),
     (7, "eu", ""), (["eu"], "eu", ""), ("EU", "eu", "EU")],
)  # fmt: skip
def test_who_is_elsewhere(said: object, here: str, asked: str | None) -> None:
    """Nobody spoke of regions: here is meant. A region without a value is the home region, `eu`."""
    assert elsewhere(said, here, home="eu") == asked


def test_a_name_that_is_none_is_not_repeated() -> None:
    assert "ada@example.org" not in refusal("ada@example.org", "eu")
    assert "`opportune serve --region us`" in refusal("us", "eu")


def playbook(tmp_path: Path, settings: str) -> Path:
    folder = tmp_path / "playbook"
    for path in SAMPLE.rglob("*.yaml"):
        copy = folder / path.relative_to(SAMPLE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    text = (folder / "opportune.yaml").read_text()
    assert text.count("region: eu\n") == 1
    (folder / "opportune.yaml").write_text(text.replace("region: eu\n", settings))
    return folder


@pytest.mark.parametrize(
    ("settings", "place", "said"),
    [
        ("region: EU\n", (6, 9), "cannot be a region"),
        ("region: eu\nregions: [eu, us, eu]\n", (7, 19), "region `eu` is named twice"),
        ("region: eu\nregions: [eu, U_S]\n", (7, 15), "`U_S` cannot be a region"),
        ("region: eu\nregions: [us, ap]\n", (7, 1), "the home region `eu` is missing: add it to `regions`"),
        ("region: eu\nregions:\n  - eu\n  - 2us\n", (9, 5), "`2us` cannot be a region"),
    ],
)
def test_what_is_wrong_with_regions_has_a_place(
    tmp_path: Path, settings: str, place: tuple[int, int], said: str
) -> None:
    found = [one for one in examine(playbook(tmp_path, settings)).problems if one.file == "opportune.yaml"]

    assert [(one.line, one.column) for one in found] == [place]
    assert said in str(found[0])


def test_regions_are_the_home_region_when_none_are_named(tmp_path: Path) -> None:
    one = examine(playbook(tmp_path / "one", "region: eu\n")).playbook
    two = examine(playbook(tmp_path / "two", "region: eu\nregions: [us, eu]\n")).playbook

    assert one is not None
    assert one.app.every_region == ("eu",)
    assert two is not None
    assert two.app.every_region == ("us", "eu")


def test_a_view_names_regions_that_there_are(tmp_path: Path) -> None:
    folder = playbook(tmp_path, "region: eu\nregions: [eu, us]\n")
    views = folder / "features/person.yaml"
    text = views.read_text()
    assert text.count("    entity: person\n") == 1
    views.write_text(text.replace("    entity: person\n", "    entity: person\n    regions: [us, ew]\n"))

    (found,) = examine(folder).problems
    line = text[: text.index("    entity: person\n")].count("\n") + 2

    assert (found.file, found.line, found.column) == ("features/person.yaml", line, 19)
    assert "`ew` is no region of this playbook" in str(found)


def contract() -> SignalContract:
    return SignalContract(signal="usage.recorded", owner="tests", schema={"type": "object"})


def test_a_table_says_where_each_row_lives() -> None:
    mapping = SignalMapping(
        rows="people", type="usage.recorded", id="row.id", time="row.at", subject="row.id", region="row.country"
    )
    source = Source(source="crm", title="CRM", owner="tests", tables={"people": "people.csv"}, signals=(mapping,))
    columns = {"people": {"id": "string", "at": "string", "country": "string"}}
    rows: list[dict[str, Any]] = [
        {"id": "a", "at": "2026-01-01", "country": "us"},
        {"id": "b", "at": "2026-01-01", "country": None},
    ]

    compiled = compile_source(source, columns)
    assert "country" in compiled.readings[0].sql
    found = list(drafts(compiled, lambda sql: _under(sql, rows)))

    assert [one.draft.region for one in found] == ["us", ""]


def _under(sql: str, rows: list[dict[str, str | None]]) -> list[dict[str, Any]]:
    return [{f"row.{name}": value for name, value in row.items()} for row in rows]


@pytest.mark.parametrize(
    ("expression", "traits", "region"),
    [("traits.home", {"home": "us"}, "us"), ("traits.home", {}, ""), ("traits.home", {"home": 7}, 7),
     ("string(int(traits.home))", {"home": "nowhere"}, UNTOLD),
     ("traits.country == 'US' ? 'us' : 'eu'", {"country": "US"}, "us"), (None, {"home": "us"}, None)],
)  # fmt: skip
def test_a_call_says_where_its_customer_lives(expression: str | None, traits: dict[str, Any], region: object) -> None:
    mapping = PayloadMapping(event="$identify", type="usage.recorded", vendor="segment", region=expression)
    source = Source(source="crm", title="CRM", owner="tests", payloads=(mapping,))
    call = Call("segment", "$identify", Draft("segment", "1", "person.updated", subject="ada"), traits=traits)

    (draft,) = drafts_of_call(call, compile_payloads((source,), (contract(),)))

    assert draft.region == region
    assert type(draft.region) is type(region)


def test_a_mapping_of_the_region_that_is_no_text_is_named() -> None:
    mapping = PayloadMapping(event="$identify", type="usage.recorded", vendor="segment", region="1 + 1")
    source = Source(source="crm", title="CRM", owner="tests", payloads=(mapping,))
    with pytest.raises(Exception, match=r"payloads\[0\].region"):
        compile_payloads((source,), (contract(),))


def test_draft_regions_take_no_place_when_nobody_speaks_of_them() -> None:
    assert "region" not in msgspec.json.decode(msgspec.json.encode(Draft("a", "b", "c")))
