"""A view that is for some regions, in two regions at work: one folds and reads it, the other keeps nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from small import consenting, kept, playbook, question, region_of, say


@pytest.mark.parametrize("first", ["eu", "us"])
def test_each_region_folds_what_is_its_own(tmp_path: Path, first: str) -> None:
    book = playbook()
    (usage,) = book.views
    book = replace(
        book, app=replace(book.app, regions=("eu", "us")), views=(replace(usage, regions=("eu",)),)
    )
    second = "us" if first == "eu" else "eu"
    seen, cells = {}, {}
    with (
        region_of(tmp_path / first, book, name=first, kind="sqlite") as one,
        region_of(tmp_path / second, book, name=second, kind="sqlite") as other,
    ):
        assert one.releases.live().hash == other.releases.live().hash
        for region in (one, other):
            consenting(region, "ada")
            say(region, "usage.recorded", "ada", count=3)
            person = region.records.person("ada")
            assert person is not None
            cells[region.name] = 0 if person.features is None else len(person.features.cells)
            answer = region.decide.run(question())
            record = kept(region, answer.decision_id)[1]
            seen[region.name] = (record.seen.features["used"], record.seen.missing)
    assert cells == {"eu": 1, "us": 0}
    assert seen == {"eu": (3, ()), "us": (None, ("used",))}
