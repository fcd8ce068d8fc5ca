"""Cross-document checks: a name that leads nowhere, or a value out of bounds, is placed and explained."""

from pathlib import Path

import playbook_folders as folders
import pytest

from opportune.adapters.playbook import PlaybookError, check_references, load
from opportune.adapters.playbook.examine import examine

CASES = [
    ("offers", "in_app: {headline", "in_ap: {headline", "13:7: unknown channel `in_ap`; did you mean `in_app`?"),
    ("offers", "offer: seats_25", "offer: seats_10", "14:12: `offer` `seats_10` is defined twice"),
    ("offers", "offer: seats_25", "offer: NO_OFFER", "14:12: `NO_OFFER` is reserved"),
    ("offers", "offer: seats_25", "offer: seats@25", "14:12: `seats@25` cannot be an id"),
    ("offers", "seats: 10, score", "seat: 10, score", "11:35: attribute `seat` is not declared"),
    ("offers", "seats: 10,", "seats: 10.5,", "11:42: `seats` is declared as a whole number, not `10.5`"),
    ("offers", "strategic: true", "strategic: 1", "`strategic` is declared as true or false, not `1`"),
    ("offers", "p_accept: 0.1", "p_accept: 10", "10:23: `10.0` is out of range: it must be from 0 to 1"),
    ("offers", "amount: 120", "amount: -1", "6:21: `-1.0` is out of range: it must be 0 or more"),
    ("offers", "owner: growth", "owner: growth\n    valid_from: soon", "9:17: `soon` is not an RFC 3339"),
    (
        "offers",
        "owner: growth",
        "owner: growth\n    valid_from: 2026-02-01\n    valid_to: 2026-01-01",
        "10:15: `valid_to` lies before `valid_from`: swap them",
    ),
    ("channels", "15m", "15 minutes", "5:16: `15 minutes` is not a duration: write a whole number"),
    ("channels", "per: 7d", "per: weekly", "8:42: `weekly` is not a duration"),
    ("channels", "at_most: 2", "at_most: 0", "8:34: `0` is out of range: it must be more than 0"),
    ("channels", '"20:00"', '"25:00"', "6:26: `25:00` is not a time of day such as `20:00`"),
    ("opportune", "Europe/Berlin", "Europe/Berln", "2:11: time zone `Europe/Berln` does not exist"),
    ("opportune", "share: 0.1", "share: 0.7", "3:18: `0.7` is out of range: it must be from 0 to 0.5"),
    ("opportune", "project: shop", "project: shop\nregion: ' '", "2:9: `region` is empty"),
    (
        "opportune",
        "project: shop",
        "project: shop\nfeedback_reasons: [{reason: late, title: too late}, {reason: late, title: later}]",
        "2:62: reason `late` is given twice: remove one",
    ),
    ("opportune", "project: shop", "project: shop\ncurrency: euro", "2:11: `euro` is not a currency code"),
    ("opportune", "[in_app]", "[in_app, sms]", "8:24: unknown channel `sms`: the playbook has `in_app`"),
    ("features", "type: int}", "type: int, window: 1 week}", "`1 week` is not a duration"),
    ("features", "id: seat_ratio", "id: seats_used", "9:14: feature `seats_used` is defined twice in this view"),
    ("schemas", "type: object", "type: objekt", "7:13: the data of a signal is an object"),
    ("schemas", "type: integer", "type: integr", "11:22: `integr` is not a JSON type"),
    ("schemas", "minimum: 0", "minimum: low", "11:40: not a valid JSON Schema 2020-12"),
    ("schemas", "type: object", "$schema: http://json-schema.org/draft-07/schema#", "7:16: `http://json-schema"),
    ("schemas", "about: account", "about: account\n    identifiers: {mail: email}", "6:19: unknown property"),
    ("sources", "type: seats.counted", "type: seats.count", "7:30: unknown signal type `seats.count`"),
    ("sources", "rows: counts", "rows: count", "7:16: unknown table `count`; did you mean `counts`?"),
    ("models", "[seat_ratio]", "[seat_rato]", "4:16: unknown feature `seat_rato`; did you mean `seat_ratio`?"),
    ("models", "owner: data", "owner: data\n    label_window: long", "4:19: `long` is not a duration"),
    ("models", "owner: data", "owner: data\n    every: often", "4:12: `often` is not a duration"),
    ("models", "owner: data", "owner: data\n    protected: [seat_ratoi]", "4:17: unknown feature `seat_ratoi`; did"),
    ("models", "owner: data", "owner: data\n    segments: [plan]", "4:16: unknown feature `plan`"),
    ("models", "owner: data", "owner: data\n    labels: [seats.countd]", "unknown signal type `seats.countd`; did"),
    ("models", "owner: data", "owner: data\n    target: churn_risk", "4:13: no `labels`: name the signal types"),
    (
        "models", "owner: data", "owner: data\n    target: value\n    algorithm: dr_learner",
        "5:16: `dr_learner` learns what offers cause, not value: use `additive` or `ebm`",
    ),
    ("models", "owner: data", "owner: data\n    gates: {ece: 0.1}", "4:13: gate `ece` must end in _min or _max"),
    (
        "models", "owner: data", "owner: data\n    gates: {qinni_min: 0}",
        "4:13: gate `qinni_min` asks for `qinni`, which a model of uplift does not have; did you mean `qini_min`?",
    ),
    (
        "models", "owner: data", "owner: data\n    target: fatigue\n    gates: {qini_min: 0}",
        "5:13: gate `qini_min` asks for `qini`, which a model of fatigue does not have",
    ),
    ("scenarios", "usage.limit_reached", "usage.limit_reach", "3:13: unknown moment `usage.limit_reach`"),
    ("scenarios", "channels: [in_app]", "channels: [inapp]", "4:16: unknown channel `inapp`"),
    ("scenarios", "offer: seats_10", "offer: seats_11", "8:21: unknown offer `seats_11`"),
    ("scenarios", "seats_25@in_app", "seats_25@email", "8:42: unknown candidate `seats_25@email`"),
    ("scenarios", "limit: seats", "limits: seats", "7:15: unknown context value `limits`"),
    ("scenarios", "seat_ratio: 0.9", "seatratio: 0.9", "6:16: unknown feature `seatratio`"),
    (
        "scenarios",
        "at: 2026",
        "like: a full tean\n    at: 2026",
        "5:11: unknown scenario `a full tean`; did you mean `a full team`",
    ),
    ("scenarios", "at: 2026", "like: a full team\n    at: 2026", "5:11: `a full team` is like this one in turn"),
    ("scenarios", "at: 2026", "timezone: Berlin\n    at: 2026", "5:15: time zone `Berlin` does not exist"),
    (
        "scenarios",
        "at: 2026",
        "consents: {marketing/in_ap: given}\n    at: 2026",
        "5:16: unknown consent `marketing/in_ap`",
    ),
    ("scenarios", "at: 2026", "consents: {marketing/in_app: yes}\n    at: 2026", "`yes` is not one of `given`"),
    (
        "scenarios",
        "at: 2026",
        "contacts: [{offer: seats_11, channel: in_app}]\n    at: 2026",
        "unknown offer `seats_11`",
    ),
    ("scenarios", "at: 2026", "contacts: [{offer: seats_10, channel: inapp}]\n    at: 2026", "unknown channel `inapp`"),
    (
        "scenarios",
        "at: 2026",
        "contacts: [{offer: seats_10, channel: in_app, age: long}]\n    at: 2026",
        "`long` is not a du",
    ),
    ("scenarios", "at: 2026", "unread: {seats: late}\n    at: 2026", "5:14: unknown view read from outside `seats`"),
    (
        "scenarios",
        "at: 2026",
        "room: {limits.mail: 0}\n    at: 2026",
        "5:12: unknown limit over everybody `limits.mail`",
    ),
    ("scenarios", "at: 2026", "faults: [score:slow]\n    at: 2026", "5:14: `score:slow` is not one of `assign:open`"),
    ("scenarios", "at: 2026", "draw: 1.5\n    at: 2026", "5:11: `1.5` is out of range: it must be at most 1"),
    ("scenarios", "at: 2026", "limit: 11\n    at: 2026", "5:12: `11` is out of range: it must be at most 10"),
    ("scenarios", "{offer: seats_10", "{disposition: offer", "8:27: `offer` is not one of `offered`, `no_offer`"),
    ("scenarios", "{offer: seats_10", "{reason: NO_CONSNT", "did you mean `NO_CONSENT`?"),
    ("scenarios", "{offer: seats_10", "{would: seats_10", "8:21: unknown candidate `seats_10`"),
    ("scenarios", "{offer: seats_10", "{slate: [seats_11]", "8:22: unknown offer `seats_11`"),
    ("scenarios", "{offer: seats_10", "{forced: [permit.al]", "unknown policy `permit.al`; did you mean `permit.all`?"),
    ("scenarios", "{offer: seats_10", "{value: [2, 1]", "8:14: `value` is a number, or two: [least, most]"),
    ("scenarios", "{offer: seats_10", "{value: [1, 2, 3]", "`value` is a number, or two"),
    (
        "scenarios",
        "{offer: seats_10",
        "{says: {everybody: [x]}",
        "`everybody` is not one of `agent`, `auditor`, `customer`",
    ),
    (
        "opportune",
        "context:",
        "safe_default: {headline: 'You have {seats}'}\n    context:",
        "`{seats}` is not filled in here",
    ),
    (
        "opportune",
        "context:",
        "weights: {seat: 2.0}\n    context:",
        "unknown offer or kind `seat`; did you mean `seats`?",
    ),
    ("opportune", "context:", "weights: {seats: -1.0}\n    context:", "`-1.0` is out of range: it must be 0 or more"),
    (
        "opportune",
        "project: shop",
        "project: shop\narbitration: {same_kind_max: 0}",
        "`0` is out of range: it must be more",
    ),
    ("offers", "owner: growth", "owner: growth\n    lever: -2", "9:12: `-2.0` is out of range: it must be 0 or more"),
    ("policies", "owner: legal", "owner: legal\n    valid_to: never", "16:15: `never` is not an RFC 3339"),
    ("policies", "id: consent.marketing", "id: permit.all", "10:9: `id` `permit.all` is defined twice"),
]


@pytest.mark.parametrize(("kind", "old", "new", "expected"), CASES)
def test_a_wrong_reference_is_placed_and_explained(
    tmp_path: Path, kind: str, old: str, new: str, expected: str
) -> None:
    source = next(text for name, text in folders.FILES.items() if name.startswith(kind))
    assert old in source
    folders.write(tmp_path, **{kind: source.replace(old, new, 1)})
    with pytest.raises(PlaybookError) as caught:
        load(tmp_path)
    found = [str(problem) for problem in caught.value.problems]
    assert any(expected in problem and problem.startswith(kind) for problem in found), found


def test_a_sound_playbook_has_no_problems(tmp_path: Path) -> None:
    assert check_references(load(folders.write(tmp_path)).playbook) == ()


def test_a_duplicate_says_where_the_first_one_is(tmp_path: Path) -> None:
    folders.write(tmp_path)
    (tmp_path / "channels/z.yaml").write_text(folders.CHANNELS)
    with pytest.raises(PlaybookError) as caught:
        load(tmp_path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("channels/z.yaml", 2, 14)
    assert problem.message.endswith("(first in channels/channels.yaml:2:14)")


def test_settings_that_do_nothing_are_warned_about(tmp_path: Path) -> None:
    weighted = folders.APP.replace("    context:", "    weights: {seats: 2.0}\n    context:")
    levered = folders.OFFERS.replace("    requires", "    lever: 2.0\n    requires", 1)
    found = examine(folders.write(tmp_path, opportune=weighted, offers=levered))
    said = [str(warning) for warning in found.warnings if "pcvl" in warning.message]
    rest = "is used only where `arbitration` says `method: pcvl`: remove it, or change the method"
    assert said == [f"offers/seats.yaml:9:12: `lever` {rest}", f"opportune.yaml:9:5: `weights` {rest}"]
    pcvl = weighted.replace("project: shop", "project: shop\narbitration: {method: pcvl}")
    found = examine(folders.write(tmp_path, opportune=pcvl, offers=levered))
    assert not [warning for warning in found.warnings if "pcvl" in warning.message]
