"""Schemas in a playbook folder: versions, upcasters, rules, classes and purposes, each problem at its place."""

from pathlib import Path

import playbook_folders as folders
import pytest

from opportune.adapters.playbook.examine import examine

VERSIONS = """\
schemas:
  - signal: seats.counted
    version: 1
    owner: growth
    about: account
    schema:
      type: object
      required: [used]
      properties:
        used: {type: integer, minimum: 0, class: internal, purposes: [marketing]}
        note: {type: string}
    quality:
      - {rule: sane, kind: range, field: used, max: 1000, remedy: repair}
  - signal: seats.counted
    version: 2
    owner: growth
    about: account
    schema:
      type: object
      required: [used]
      properties:
        used: {type: integer, minimum: 0}
        note: {type: string}
    upcast:
      "1":
        note: >-
          data.note +
          "!"
"""
POLICIES = """\
policies:
  - id: permit.all
    effect: permit
    class: commercial
    when: |
      seat_ratio > 0.5
        && seats_used > 1
    reason: everybody
    owner: growth
  - id: consent.marketing
    effect: forbid
    class: consent
    when: "seat_ratio > 1.0"
    reason: no consent
    owner: legal
"""


def problems(folder: Path, **changes: str) -> list[str]:
    folders.write(folder, **{"policies": POLICIES, "schemas": VERSIONS, **changes})
    return [str(one) for one in examine(folder).problems]


def test_two_versions_with_an_upcaster_are_sound(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


CASES = [
    ("class: internal", "class: intern", "schemas/seats.yaml:10:50: `intern` is no class of data", "internal"),
    ("purposes: [marketing]", "purposes: marketing", "schemas/seats.yaml:10:60: `purposes` must be a list", ""),
    ("field: used, max", "field: usd, max", "schemas/seats.yaml:13:42: `seats.counted` has no field `usd`", "used"),
    ("max: 1000", "min: 9, max: 1", "schemas/seats.yaml:13:61: `max` is less than `min`", ""),
    ("max: 1000, ", "", "schemas/seats.yaml:13:9: a `range` rule needs `min`, `max` or both", ""),
    ("remedy: repair", "remedy: mend", "schemas/seats.yaml:13:67: `mend` is not one of", ""),
    ("data.note +\n", "data.nota +\n", "schemas/seats.yaml:27:11: unknown name `data.nota`", "data.note"),
    ('"!"', "1", "schemas/seats.yaml:27:21: `+` does not apply to string and int", ""),
    ('"1":\n        note', '"1":\n        nots', "schemas/seats.yaml:26:9: version 2 of `seats.counted` has", "note"),
    ('upcast:\n      "1"', 'upcast:\n      "3"', "schemas/seats.yaml:25:7: there is no version `3`", ""),
    (
        VERSIONS[VERSIONS.index("    upcast") :] + "|        used: {type: integer, minimum: 0}\n        note",
        "|        used: {type: number, minimum: 0}\n        note",
        "schemas/seats.yaml:22:9: versions 1 and 2 are not compatible: `used` of version 2 may be a number",
        "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected", "nearest"), CASES)
def test_what_is_wrong_with_a_schema_is_placed(
    tmp_path: Path, old: str, new: str, expected: str, nearest: str
) -> None:
    text = VERSIONS
    for before, after in zip(old.split("|"), new.split("|"), strict=True):
        assert before in text
        head, _, tail = text.rpartition(before)
        text = head + after + tail
    found = problems(tmp_path, schemas=text)
    assert any(one.startswith(expected) for one in found), found
    if nearest:
        assert any(one.endswith(f"did you mean `{nearest}`?") for one in found), found


ONLY_SERVICE = VERSIONS.replace("purposes: [marketing]", "purposes: [service]")
PURPOSES = [
    (
        {"schemas": ONLY_SERVICE},
        "features/account.yaml:8:54: `used` of `seats.counted` is not for purpose `marketing` of view `seats`",
    ),
    (
        {"schemas": ONLY_SERVICE, "features": folders.FEATURES.replace("[marketing]", "[service]")},
        "offers/seats.yaml:9:16: `seat_ratio` (view `seats`) is not for purpose `marketing`, which offer `seats_10` "
        "serves: it is for `service`",
    ),
    (
        {"features": folders.FEATURES.replace("[marketing]", "[service]")},
        "policies/all.yaml:7:12: `seats_used` (view `seats`) is not for purpose `marketing`, which policy `permit.all`",
    ),
    (
        {"features": folders.FEATURES.replace("[marketing]", "[service]")},
        "models/expansion.yml:4:16: `seat_ratio` (view `seats`) is not for purpose `marketing`, which model",
    ),
    (
        {
            "features": folders.FEATURES.replace("[marketing]", "[service]"),
            "offers": folders.OFFERS.replace("headline: Ten more", "headline: 'Ten, {seats_used} used'"),
        },
        "offers/seats.yaml:13:33: `seats_used` (view `seats`) is not for purpose `marketing`",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), PURPOSES)
def test_data_for_another_purpose_does_not_compile(tmp_path: Path, changes: dict[str, str], expected: str) -> None:
    found = problems(tmp_path, **changes)
    assert any(one.startswith(expected) for one in found), found


def test_policies_that_protect_the_customer_may_read_everything(tmp_path: Path) -> None:
    found = problems(tmp_path, features=folders.FEATURES.replace("[marketing]", "[service]"))
    assert not any("consent.marketing" in one for one in found)
    service = folders.OFFERS.replace("owner: growth\n", "owner: growth\n    purpose: service\n")
    model = folders.MODELS.replace("owner: data", "owner: data\n    purpose: service")
    view = folders.FEATURES.replace("[marketing]", "[service]")
    sound = VERSIONS.replace("purposes: [marketing]", "purposes: [service]")
    assert problems(tmp_path, features=view, offers=service, models=model, schemas=sound) == []
