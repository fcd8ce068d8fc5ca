"""Backfill: a new feature knows the whole log, each signal once, whatever else happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from evolved import cells_of, first_playbook, next_playbook, random_drafts, tell_both
from linked import tell, who
from small import ask, question, region_of

from opportune.flows import backfill as flow
from opportune.flows.backfill import backfill, current, needed, prune, resume
from opportune.flows.erase import erase
from opportune.flows.govern import promote
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock


class Stop(Exception):
    """The process ended here."""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "BATCH", 7)


@pytest.fixture(params=["memory", "sqlite"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Region]:
    with region_of(tmp_path, first_playbook(), kind=request.param) as found:
        yield found


def read(region: Region, customer: str) -> dict[str, object]:
    """Every feature, as a decision would read it now."""
    views, person = region.releases.live().views, who(region, customer)
    account = None if person.account is None else region.records.account(person.account)
    vector = views.read(person.features, None if account is None else account.features, region.clock.now_ms())
    return dict(zip(views.names, vector.values, strict=True))


def test_promoting_gives_a_new_feature_the_whole_log(region: Region) -> None:
    for count in (3, 4):
        tell(region, "usage.recorded", "ada", count=count)
    made = region.release(next_playbook())
    assert needed(region, made.hash).features == ("used_7d", "busy", "company_used", "company_last")
    assert needed(region, made.hash).signals == 2
    steps: list[tuple[int, int]] = []
    region.promote(made.hash, "tests", "more features", tell=lambda done, end: steps.append((done, end)))
    assert steps == [(2, 2)]
    assert read(region, "ada") == {"used": 7, "used_7d": 7, "busy": 14, "company_used": None, "company_last": None}
    assert needed(region, made.hash) == flow.Needed(made.hash, (), 0)
    tell(region, "usage.recorded", "ada", count=1)
    assert read(region, "ada")["used_7d"] == 8


def test_without_a_backfill_a_new_feature_is_missing_never_zero(region: Region) -> None:
    tell(region, "usage.recorded", "ada", count=3)
    made = region.release(next_playbook()).hash
    region.promote(made, "tests", "at once", backfill=False)
    tell(region, "usage.recorded", "ada", count=4)
    assert read(region, "ada") == {
        "used": 7, "used_7d": None, "busy": None, "company_used": None, "company_last": None
    }  # fmt: skip
    seen = region.decide.preview(question("ada"))
    assert seen.disposition != "fallback"
    resume(region)
    assert read(region, "ada")["used_7d"] == 7
    assert ask(region, question("ada")).result(30).disposition == "no_offer"


@pytest.mark.parametrize("seed", range(6))
def test_signals_and_merges_during_a_backfill_and_kills_change_nothing(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region that had the new release from the start is told the same signals, and must hold the same cells."""
    drafts = random_drafts(seed, 160)
    kind = "sqlite" if seed % 2 else "memory"
    with (
        region_of(tmp_path / "one", first_playbook(), kind=kind, clock=FrozenClock()) as region,
        region_of(tmp_path / "two", next_playbook(), clock=FrozenClock()) as other,
    ):
        made = region.release(next_playbook()).hash
        both, waiting = (region, other), iter(drafts)
        for _ in range(80):
            tell_both(both, next(waiting))

        def meanwhile() -> None:
            for _ in range(3):
                tell_both(both, next(waiting))
            if seed % 3 == 0:
                undo_the_newest(both, made)
            raise Stop

        rounds = 0
        while True:
            try:
                backfill(region, made, rest=meanwhile)
                break
            except Stop:
                rounds += 1
        assert rounds > 5
        region.promote(made, "tests", "ready")
        for one in waiting:
            tell_both(both, one)
        assert cells_of(region, made) == cells_of(other, made)
        assert any(name.startswith("Account") and cells for name, cells in cells_of(region, made).items())
        assert current(region).owed == ()


def undo_the_newest(regions: tuple[Region, ...], made: str) -> None:
    for region in regions:
        rows = {row.id: row for name in "pqrst" for row in region.records.merges_of(name) if row.undone_ms is None}
        if rows:
            assert isinstance(region.clock, FrozenClock)
            newest = max(rows.values(), key=lambda row: (row.at_ms, row.merged))
            region.clock.at_ms += 1
            region.merging.unmerge(newest.id, "tests", "two")


def test_the_release_before_is_kept_up_to_date_for_a_rollback(region: Region) -> None:
    first = region.releases.live().hash
    tell(region, "usage.recorded", "ada", count=3)
    gone = msgspec.structs.replace(first_playbook(), views=next_playbook().views[1:])
    second = region.release(gone).hash
    region.promote(second, "tests", "without usage")
    tell(region, "usage.recorded", "ada", count=4)
    assert region.rollback("tests", "it was needed") == first
    assert read(region, "ada") == {"used": 7}


def test_a_release_from_long_ago_says_missing_until_it_is_backfilled(region: Region) -> None:
    tell(region, "usage.recorded", "ada", count=3)
    book = first_playbook()
    view, first = book.views[0], region.releases.live().hash
    for version in (2, 3, 4):
        changed = msgspec.structs.replace(view, version=version)
        made = region.release(msgspec.structs.replace(book, views=(changed,))).hash
        region.promote(made, "tests", f"version {version}")
    tell(region, "usage.recorded", "ada", count=4)
    assert current(region).dropped == tuple(sorted(region.releases.get(first).views.keys))
    region.promote(first, "tests", "long ago", backfill=False)
    assert read(region, "ada") == {"used": None}
    tell(region, "usage.recorded", "ada", count=5)
    resume(region)
    assert read(region, "ada") == {"used": 12}


def test_cells_that_no_release_reads_are_pruned(region: Region) -> None:
    tell(region, "usage.recorded", "ada", count=3)
    book = first_playbook()
    for version in (2, 3, 4):
        views = (msgspec.structs.replace(book.views[0], version=version),)
        region.promote(region.release(msgspec.structs.replace(book, views=views)).hash, "tests", "again")
    assert prune(region) == 1
    assert current(region).dropped == ()
    features = who(region, "ada").features
    assert features is not None
    assert sorted(key.split(".")[1] for key in features.cells) == ["2", "3", "4"]
    assert prune(region) == 0


def test_two_versions_are_folded_side_by_side(region: Region) -> None:
    book = first_playbook()
    second = msgspec.structs.replace(book, views=(msgspec.structs.replace(book.views[0], version=2),))
    tell(region, "usage.recorded", "ada", count=3)
    made = region.release(second).hash
    backfill(region, made)
    tell(region, "usage.recorded", "ada", count=4)
    features, now_ms = who(region, "ada").features, region.clock.now_ms()
    live, prepared = region.releases.live().views, region.releases.get(made).views
    assert live.read(features, None, now_ms).values == prepared.read(features, None, now_ms).values == (7,)


def test_whoever_was_erased_during_a_backfill_is_not_made_again(region: Region) -> None:
    for name in ("ada", "bo"):
        for _ in range(10):
            tell(region, "usage.recorded", name, count=1)
    made = region.release(next_playbook()).hash
    with pytest.raises(Stop):
        backfill(region, made, rest=stop)
    erase(region, "bo", "tests", "asked for it")
    with monkeyed_log(region):
        backfill(region, made)
    assert region.records.person("bo") is None
    region.promote(made, "tests", "ready")
    assert read(region, "ada")["used_7d"] == 10


def stop() -> None:
    raise Stop


class monkeyed_log:  # noqa: N801 - reads as a statement
    """The log as it was read just before somebody was erased: signals of `bo` are still in the batch."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.signals: Callable[..., object] = region.records.signals

    def __enter__(self) -> None:
        def stale(after: int = 0) -> Iterator[object]:
            for stored in self.signals(after):  # type: ignore[attr-defined]
                ghost = msgspec.structs.replace(stored.signal, customer="bo", id="ghost")
                yield stored
                yield msgspec.structs.replace(stored, signal=ghost)

        self.region.records.signals = stale  # type: ignore[method-assign,assignment]

    def __exit__(self, *_: object) -> None:
        del self.region.records.signals


def test_a_store_that_never_kept_what_is_folded_finds_out_and_catches_up(tmp_path: Path) -> None:
    """Written by a version before this one: what a release began to fold when it was promoted has gaps."""
    with region_of(tmp_path, first_playbook()) as region:
        tell(region, "usage.recorded", "ada", count=3)
        made = region.release(next_playbook()).hash
        kept = region.records._kept  # type: ignore[attr-defined]
        del kept.positions["features"]
        promote(region.records, region.vault, region.clock, region.name, made, "tests", "as it was done before")
        region.releases.switch(made)
        tell(region, "usage.recorded", "ada", count=4)
        assert read(region, "ada")["used_7d"] == 4  # nobody knows that this is half of it
        assert needed(region, made).features == ("used_7d", "busy", "company_used", "company_last")

        backfill(region, made)

        assert read(region, "ada")["used_7d"] == 7
        tell(region, "usage.recorded", "ada", count=1)
        assert (read(region, "ada")["used"], read(region, "ada")["used_7d"]) == (8, 8)


def test_erased_signals_do_not_come_back_by_a_backfill(region: Region) -> None:
    tell(region, "usage.recorded", "ada", count=3)
    tell(region, "usage.recorded", "bo", count=5)
    erase(region, "ada", "tests", "asked for it")
    region.promote(region.release(next_playbook()).hash, "tests", "ready")
    assert region.records.person("ada") is None
    assert read(region, "bo")["used_7d"] == 5
