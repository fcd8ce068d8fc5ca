"""Features over HTTP: listed, shown, what a change touches, and where a value in a decision came from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from door import Door, event, served


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("features")) as found:
        yield found


def test_features_are_listed(door: Door) -> None:
    door.customer()
    found = {one["name"]: one for one in door.get("/v1/features").json()}
    assert found["seats_used"]["stats"]["with_value"] >= 1
    assert found["seat_ratio"]["inputs"] == ["seats", "seats_used"]
    assert found["usage_7d"]["fields"] == ["usage.recorded.count", "usage.recorded.feature"]
    assert all(one["stats"] is None for one in door.get("/v1/features?sample=0").json())
    one = door.get("/v1/features/seat_ratio").json()
    assert one["rests_on"]["features"] == ["seats", "seats_used"]
    assert door.get("/v1/features/none").problem(404)[0] == "unknown-feature"


def test_what_a_change_touches(door: Door) -> None:
    found = door.get("/v1/features/used-by?name=seats.counted.used").json()
    assert found["features"] == ["seats_used"]
    assert ("feature", "seat_ratio") in {(use["kind"], use["name"]) for use in found["uses"]}
    assert door.get("/v1/features/used-by?name=seats.counted.us").problem(404)[0] == "unknown-name"


def test_where_a_value_in_a_decision_came_from(door: Door) -> None:
    who = door.customer()
    account = who.replace("person", "company")
    door.accepted(event("seats.counted", {"used": 9, "seats": 10}, "counted-late", subject=who, account=account,
                        time="2026-11-01T10:00:00Z"))  # fmt: skip
    decision = door.decide(who).json()["decision_id"]
    door.accepted(event("seats.counted", {"used": 3, "seats": 10}, "counted-after", subject=who, account=account))

    found = door.get(f"/v1/decisions/{decision}/lineage?feature=seat_ratio").json()
    made = {one["name"]: one for one in found["made"]}
    assert [one["name"] for one in found["made"]][-1] == "seat_ratio"
    assert made["seat_ratio"]["value"]["value"] == 1.0
    assert made["seats_used"]["how"] == "last of data.used from seats.counted"
    assert made["seats_used"]["signals"] == {"seats.counted": 2}
    assert found["reproduced"] is True
    ids = {one["id"] for one in found["signals"]}
    assert "counted-late" in ids
    assert "counted-after" not in ids
    assert {one["type"] for one in found["signals"]} == {"account.updated", "seats.counted", "subscription.started"}
    (late,) = [one for one in found["signals"] if one["id"] == "counted-late"]
    assert (late["fields"]["used"], late["source"], late["feeds"]) == (9, "tests", ["seats", "seats_used"])
    effects = {(one["use"]["kind"], one["use"]["name"]): one["effect"] for one in found["led"]}
    assert effects["offer", "seats_25"] == "not eligible"
    assert any(one["what"] == "lineage" and one["customer"] == who for one in door.get("/v1/accesses").json())


def test_only_what_the_decision_could_know_counts(door: Door) -> None:
    who = door.customer()
    account = who.replace("person", "company")
    about = {"subject": who, "account": account}
    door.accepted(
        event("usage.recorded", {"feature": "boards", "count": 7}, **about),
        event("usage.recorded", {"feature": "api", "count": 900}, "other", **about),
        event("usage.recorded", {"feature": "boards", "count": 5}, "old", **about, time="2026-01-05T10:00:00Z"),
    )
    decision = door.decide(who).json()["decision_id"]
    found = door.get(f"/v1/decisions/{decision}/lineage?feature=usage_7d").json()
    assert [one["fields"] for one in found["signals"]] == [{"count": 7, "feature": "boards"}]
    assert found["made"][0]["from"].endswith("Z")
    assert found["reproduced"] is True


def test_personal_values_are_masked_without_the_scope(door: Door) -> None:
    who = door.customer()
    decision = door.decide(who).json()["decision_id"]
    assert door.get(f"/v1/decisions/{decision}/lineage?feature=nothing").problem(404)[0] == "unknown-feature"
    assert door.get("/v1/decisions/none/lineage?feature=role").problem(404)[0] == "unknown-decision"
    found = door.get(f"/v1/decisions/{decision}/lineage?feature=role").json()
    class_ = found["made"][0]["value"]["class"]
    assert (found["made"][0]["value"]["hidden"], class_) == (class_ in ("personal", "sensitive"), class_)
