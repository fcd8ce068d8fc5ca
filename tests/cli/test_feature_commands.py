"""`features list`, `show`, `used-by`, `backfill`, `prune`; and what `release` and `promote` say about new features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .called import call, change

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


def test_features_are_listed_with_their_users_and_how_they_look(company: Path) -> None:
    found = {one["name"]: one for one in call("features", "list", "--playbook", company, "--json").json}
    ratio = found["seat_ratio"]
    assert (ratio["view"], ratio["version"], ratio["owner"], ratio["entity"]) == ("seats", 1, "growth", "account")
    assert ratio["how"] == "derived: double(seats_used) / double(seats)"
    assert ratio["stats"]["sampled"] == 200
    assert 0 < ratio["stats"]["distinct"] <= 200
    assert found["mrr"]["stats"]["null_rate"] < 0.05
    assert found["role"]["stats"]["sampled"] > 200
    kinds = {use["kind"] for use in ratio["used_by"]}
    assert {"offer", "model"} <= kinds
    text = call("features", "list", "--playbook", company).out
    assert "seat_ratio" in text
    assert "8 d" in text


def test_one_feature_is_shown_whole(company: Path) -> None:
    text = call("features", "show", "usage_trend", "--playbook", company).out
    assert "usage_28d > 0" in text
    assert "rests on signals: usage.recorded; features: usage_28d, usage_7d" in text
    said = call("features", "show", "usage_trent", "--playbook", company)
    assert (said.code, said.err) == (2, "no feature is called `usage_trent`: did you mean `usage_trend`?\n")


def test_what_changing_a_field_touches(company: Path) -> None:
    found = call("features", "used-by", "usage.recorded.count", "--playbook", company, "--json").json
    assert found["features"] == ["usage_7d", "usage_28d", "api_calls_7d"]
    uses = {(use["kind"], use["name"]) for use in found["uses"]}
    assert {("feature", "usage_7d"), ("feature", "usage_trend"), ("model", "expansion")} <= uses
    assert ("feature", "features_used_28d") not in uses
    whole = call("features", "used-by", "usage.recorded", "--playbook", company, "--json").json
    assert "features_used_28d" in whole["features"]
    said = call("features", "used-by", "usage.recorded.counts", "--playbook", company)
    assert said.code == 2
    assert said.err == (
        "signal `usage.recorded` has no field `counts`: it has `beta`, `count`, `duration_s`, `errors`, `feature`\n"
    )
    assert call("features", "used-by", "nothing.here", "--playbook", company).code == 2


def test_a_new_feature_is_backfilled_when_its_release_is_promoted(company: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(company, folder)
    added = "      - {id: usage_14d, from: usage.recorded, value: data.count, aggregate: sum, window: 14d, "
    added += "hop: 1d, type: int}\n"
    change(folder / "features/account.yaml", "      - {id: api_calls_7d,", f"{added}      - {{id: api_calls_7d,")
    made = call("release", "--playbook", folder)
    assert "1 feature will be backfilled when it is promoted" in made.out
    hash_ = made.out.split()[2] if made.out.startswith("made") else made.out.split()[-1]
    at_once = tmp_path / "at_once"
    shutil.copytree(folder, at_once)

    promoted = call("promote", hash_, "--playbook", folder)
    assert promoted.code == 0
    assert promoted.err.startswith("backfilling 1 feature from ")
    counted = one_feature(folder, "usage_14d")
    assert counted["whole"] is True
    assert counted["stats"]["with_value"] > 150

    hurried = call("promote", hash_, "--without-backfill", "--playbook", at_once)
    assert hurried.err == "missing until `opportune features backfill` is run: usage_14d\n"
    assert one_feature(at_once, "usage_14d")["stats"]["with_value"] == 0
    assert "(being backfilled)" in call("features", "list", "--playbook", at_once).out
    filled = call("features", "backfill", "--playbook", at_once, "--json").json
    assert filled["features"] == ["usage_14d"]
    assert one_feature(at_once, "usage_14d") == counted
    again = call("features", "backfill", "--playbook", at_once)
    assert again.out.startswith("nothing to do: every feature of")
    assert call("features", "prune", "--playbook", at_once).out == "nothing to do: no feature is retired\n"


def one_feature(folder: Path, name: str) -> dict[str, Any]:
    found = json.loads(call("features", "show", name, "--playbook", folder, "--json").out)
    for age in ("age_p50_ms", "age_p90_ms", "age_max_ms"):
        del found["stats"][age]
    assert isinstance(found, dict)
    return found


def test_two_versions_of_a_view_stand_side_by_side(playbook: Path) -> None:
    path = playbook / "features/person.yaml"
    first = path.read_text()
    second = first.partition("views:\n")[2].replace("version: 1", "version: 2")
    for name in ("role", "offers_declined_30d"):
        second = second.replace(f"id: {name},", f"id: {name}_v2,")
    second = second.replace("expect: {role:", "expect: {role_v2:")
    second = second.replace("offers_declined_30d: ", "offers_declined_30d_v2: ")
    path.write_text(first + second)
    assert call("check", "--playbook", playbook).err == ""
    assert call("test", "--playbook", playbook).code == 0
    path.write_text(first + first.partition("views:\n")[2])
    said = call("check", "--playbook", playbook)
    assert said.code != 0
    assert "contact_person" in said.err + said.out


@pytest.mark.parametrize("command", ["list", "show", "used-by", "backfill", "prune"])
def test_every_command_has_its_help(command: str) -> None:
    assert call("features", command, "--help").code == 0
