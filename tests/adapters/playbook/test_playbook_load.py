"""Loading: sound folders become documents, and every fault is named at its place."""

import os
from pathlib import Path

import playbook_folders as folders
import pytest

from opportune.adapters.playbook import PlaybookError, load


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(PlaybookError) as caught:
        load(folder)
    return [str(problem) for problem in caught.value.problems]


def test_a_sound_folder_loads_without_coercion(tmp_path: Path) -> None:
    playbook = load(folders.write(tmp_path)).playbook
    first, second = playbook.offers
    assert (first.price.amount, second.price.per) == (120.0, "year")
    assert second.treatments["in_app"].headline == "NO"
    assert playbook.scenarios[0].at == "2026-11-02T10:00:00Z"
    assert playbook.channels[0].quiet_hours is not None
    assert playbook.channels[0].quiet_hours.start == "20:00"
    assert playbook.contracts[0].schema["properties"]["used"]["minimum"] == 0
    assert playbook.models[0].features == ("seat_ratio",)


def test_optional_folders_may_be_missing(tmp_path: Path) -> None:
    playbook = load(folders.write(tmp_path, sources=None, models=None, scenarios=None)).playbook
    assert (playbook.sources, playbook.models, playbook.scenarios) == ((), (), ())


def test_what_is_missing_is_named_with_its_fix(tmp_path: Path) -> None:
    (absent,) = problems_of(tmp_path / "nowhere")
    assert absent.startswith("opportune.yaml:1:1: there is no folder")
    assert absent.endswith("`opportune init` makes one")
    found = problems_of(tmp_path)
    assert len(found) == 4
    assert "`opportune.yaml` is missing" in "".join(found)
    assert "channels/:1:1: the playbook has no channels: add `channels/channels.yaml` with a list" in found[0]


def test_files_are_read_in_order_of_their_names(tmp_path: Path) -> None:
    folders.write(tmp_path)
    second = folders.OFFERS.replace("seats_10", "a1").replace("seats_25", "a2")
    (tmp_path / "offers/b.yml").write_text(second)
    (tmp_path / "offers/.hidden.yaml").write_text("not: read")
    (tmp_path / "offers/README.md").write_text("not read")
    assert [offer.offer for offer in load(tmp_path).playbook.offers] == ["a1", "a2", "seats_10", "seats_25"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    title: Ten", "    tittle: Ten", "4:5: unknown key `tittle`; did you mean `title`?"),
        (
            "amount: 120}",
            'amount: "120"}',
            "6:21: `amount` must be a number, not the text `120`: remove the quotes",
        ),
        ("amount: 120}", "amount: true}", "6:21: `amount` must be a number, not `true`"),
        ("amount: 120}", "amount: 1, pre: month}", "6:24: unknown key `pre`; did you mean `per`?"),
        ("amount: 120}", "amount: .inf}", "6:21: `.inf` is not a finite number: write a number"),
        ("amount: 120}", "amount: 1e999}", "6:21: `1e999` is not a finite number: write a number"),
        ("title: Ten more seats", "title: 10", "4:12: `title` must be text, not the number `10`: put it in quotes"),
        ("title: Ten more seats", "title:", "4:5: `title` has no value: give it text, or remove the key"),
        ("per: year", "per: yeer", "17:33: `yeer` is not one of `month`, `once`, `year`; did you mean `year`?"),
        ("    owner: growth\n    requires", "    requires", "3:5: missing key `owner`: add it, with text"),
        ("in_app: {headline: Ten more}", "in_app: {headline: [x]}", "13:26: `headline` must be text, not a list"),
        ("in_app: {headline: Ten more}", "in_app: Ten", "13:15: `in_app` must be a mapping with `headline`, not"),
        ("seats: 10,", "seats: [1],", "11:42: `seats` must be true or false or a whole number or a number or text"),
        (
            "    kind: seats\n    price: {amount: 120}",
            "    kind: a\n    kind: b\n    price: {amount: 1}",
            "6:5: key `kind`",
        ),
        ("Ten more seats", "&x Ten", "4:12: anchor `&x` is not used here: remove it"),
        ("Ten more seats", "*x", "4:12: alias `*x` is not used here: write the value out"),
        ("Ten more seats", "!!str Ten", "4:12: tag `!!str` is not used here: remove it"),
        ("Ten more seats", "!Ref Ten", "4:12: tag `!Ref` is not used here: remove it"),
        ("    title: Ten more seats", "    title: Ten: more", "4:15: a colon stands where none can be"),
        ("    title: Ten more seats", "    true: x", "4:5: key `true` is not read as text: put it in quotes"),
        ("    title: Ten more seats", "    <<: {a: b}", "4:5: merge key `<<` is not used here"),
        ("    title: Ten more seats", "\ttitle: Ten", "4:1: a tab cannot be used to indent: use spaces"),
        ("offers:\n", "policies: []\noffers:\n", "2:1: unknown key `policies`: move this to policies/"),
        ("offers:\n", "offer:\n", "2:1: unknown key `offer`"),
        ("margin: 1150", "margin: 99999999999999999999", "7:13: `99999999999999999999` does not fit in 64 bits"),
        ("# What we sell.\n", "%YAML 1.1\n---\n", "1:1: directives are not used here"),
        ("offers:\n", "---\na: 1\n---\noffers:\n", "only one document per file"),
    ],
)
def test_a_fault_is_named_at_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in folders.OFFERS
    found = problems_of(folders.write(tmp_path, offers=folders.OFFERS.replace(old, new, 1)))
    assert any(expected in problem and problem.startswith("offers/seats.yaml:") for problem in found), found


def test_all_problems_of_all_files_come_at_once_in_order(tmp_path: Path) -> None:
    offers = folders.OFFERS.replace("title: Ten", "tittle: Ten").replace("amount: 120", "amount: x")
    offers = offers.replace("per: year", "per: day")
    channels = folders.CHANNELS.replace("kind: pull", "kind: pul")
    app = folders.APP.replace("share: 0.1", "share: a lot")
    found = problems_of(folders.write(tmp_path, offers=offers, channels=channels, opportune=app))
    assert [problem.split(": ")[0] for problem in found] == [
        "channels/channels.yaml:4:11",
        "offers/seats.yaml:4:5",
        "offers/seats.yaml:6:21",
        "offers/seats.yaml:17:33",
        "opportune.yaml:3:18",
    ]


def test_the_path_of_a_problem_is_written_out(tmp_path: Path) -> None:
    offers = folders.OFFERS.replace("amount: 300.5", "amount: x")
    with pytest.raises(PlaybookError) as caught:
        load(folders.write(tmp_path, offers=offers))
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.column) == ("offers[1].price.amount", 17, 21)


def test_what_a_document_checks_itself_is_placed_too(tmp_path: Path) -> None:
    views = folders.FEATURES + "    tests:\n      - {name: a, read_at: 2026-01-01T00:00:00, expect: {}}\n"
    assert (
        "11:28: `2026-01-01T00:00:00` has no time zone" in problems_of(folders.write(tmp_path, features=views))[0]
    )
    views = folders.FEATURES.replace("version: 1", "version: 0")
    (found,) = problems_of(folders.write(tmp_path, features=views))
    assert found == "features/account.yaml:3:14: `0` is out of range: it must be at least 1"


def test_a_file_that_is_not_text_or_too_big_is_refused(tmp_path: Path) -> None:
    folders.write(tmp_path)
    path = tmp_path / "models/expansion.yml"
    path.write_bytes(b"models:\n  - \xff\xfe")
    assert problems_of(tmp_path) == ["models/expansion.yml:2:5: this is not UTF-8: save the file as UTF-8"]
    path.write_bytes(b"models: []\n#" + b"x" * (1 << 20))
    assert "larger than 1048576 bytes" in problems_of(tmp_path)[0]
    path.write_text("models: " + "[" * 5000)
    assert "nested deeper than 32 levels" in problems_of(tmp_path)[0]
    path.write_text("# nothing\n")
    assert "the file is empty" in problems_of(tmp_path)[0]
    path.write_text("models: []\nx: \x07")
    assert problems_of(tmp_path) == ["models/expansion.yml:2:4: character U+0007 is not allowed: remove it"]
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert "leads out of the playbook" in problems_of(tmp_path)[0]
    path.unlink()
    path.symlink_to(path)
    assert "the file cannot be read" in problems_of(tmp_path)[0]
    path.unlink()
    os.mkfifo(path)
    assert problems_of(tmp_path) == ["models/expansion.yml:1:1: this is not a file: remove or rename it"]


def test_files_that_would_be_left_out_silently_are_named(tmp_path: Path) -> None:
    folders.write(tmp_path, models=None)
    (tmp_path / "offers/eu").mkdir()
    (tmp_path / "offers/eu/a.yaml").write_text(folders.OFFERS)
    (tmp_path / "model").mkdir()
    (tmp_path / "docs").mkdir()
    found = problems_of(tmp_path)
    assert found[0].startswith("model/:1:1: folder `model` is not read")
    assert found[0].endswith("did you mean `models`?")
    assert found[1] == "offers/eu/:1:1: folders inside offers/ are not read: move its files up to offers/"
    assert len(found) == 2
