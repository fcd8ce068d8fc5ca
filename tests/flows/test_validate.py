"""Heavier models look at every decision once, after the answer, whatever is interrupted; decisions never wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from small import DAY_MS, ask, card, consenting, playbook, question, region_of, say

from opportune.core.models import ModelError, Scorecard, card_hash
from opportune.core.models.disagreement import CardModel
from opportune.core.playbook import ModelSpec, Playbook
from opportune.core.releases import ReleaseError
from opportune.flows.region import Region
from opportune.testing.clock import FrozenClock
from opportune.views.disagreement import disagreement_lines

FAST = ModelSpec(model="small", owner="tests", features=("used",))
HEAVY = ModelSpec(model="heavy", owner="tests", features=("used",), validates="small")
LATER_MS = 60_000


def book(*heavier: ModelSpec) -> Playbook:
    return msgspec.structs.replace(playbook(limits=()), models=(FAST, *heavier))


def heavy_card() -> Scorecard:
    """Thinks less of `seats` than the model that answers, as much of `addon`."""
    small = card()
    less = msgspec.structs.replace(small.offers[0].offered, base=-4.0)
    seats = msgspec.structs.replace(small.offers[0], offered=less)
    return msgspec.structs.replace(small, model="heavy", offers=(seats, small.offers[1]))


@contextmanager
def at_work(folder: Path, kind: str = "memory", *heavier: ModelSpec) -> Iterator[Region]:
    with region_of(folder, book(*(heavier or (HEAVY,))), cards=(card(),), kind=kind) as region:
        region.registry.propose(heavy_card(), "author", HEAVY)
        yield region


def decided(region: Region, *customers: str) -> None:
    for customer in customers:
        consenting(region, customer)
        say(region, "usage.recorded", customer, count=20)
        ask(region, question(customer)).result(30)


def later(region: Region, by_ms: int = LATER_MS) -> None:
    clock = region.clock
    assert isinstance(clock, FrozenClock)
    clock.at_ms += by_ms


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_each_decision_is_looked_at_once(tmp_path: Path, kind: str) -> None:
    with at_work(tmp_path, kind) as region:
        decided(region, "ada", "bea", "cyn")
        assert region.validate.step() == 0  # they are too young: one with an earlier id may still be written
        later(region)
        assert region.validate.step() == 3
        assert region.validate.step() == 0
        decided(region, "dan")
        later(region)
        assert region.validate.step() == 1
        (found,) = region.validate.found("small")
        assert (found.decisions, found.offers) == (4, 8)
        assert found.fast == f"small@{card_hash(card())[:12]}"
        assert found.heavy == f"heavy@{card_hash(heavy_card())[:12]}"
        assert found.other_best == 4  # `seats` stands first for the one that answers, `addon` for the heavier one
        assert found.mean_gap == pytest.approx(-found.mean_distance)
        line = disagreement_lines([found])[0]
        assert line.other_best == 1.0
        assert line.other_sign == 0.5
        assert len(line.worst) == 4


def test_days_are_kept_apart_and_other_decisions_are_passed_over(tmp_path: Path) -> None:
    with at_work(tmp_path) as region:
        decided(region, "ada")
        say(region, "usage.recorded", "zoe", count=1)
        assert ask(region, question("zoe")).result(30).offer is None  # without consent nothing is scored
        later(region, DAY_MS)
        decided(region, "bea")
        later(region)
        assert region.validate.step() == 3
        assert [one.decisions for one in region.validate.found()] == [1, 1]
        assert region.validate.found("another") == []


def test_a_turn_that_is_interrupted_or_done_twice_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at_work(tmp_path) as region:
        decided(region, "ada", "bea")
        later(region)

        def fails(*_: object) -> object:
            raise RuntimeError

        with monkeypatch.context() as patched:
            patched.setattr(CardModel, "uplifts", fails)
            with pytest.raises(RuntimeError):
                region.validate.step()
        assert region.validate.found() == []
        real = CardModel.uplifts

        def beside(self: CardModel, *asked: object) -> object:
            monkeypatch.setattr(CardModel, "uplifts", real)
            assert region.validate.step() == 2  # somebody else takes the same turn meanwhile
            return real(self, *asked)  # type: ignore[arg-type]  # what it was asked

        monkeypatch.setattr(CardModel, "uplifts", beside)
        assert region.validate.step() == 0
        assert [one.decisions for one in region.validate.found()] == [2]


def test_a_heavier_model_never_decides_and_is_not_waited_for(tmp_path: Path) -> None:
    with at_work(tmp_path) as region:
        assert [one.model for one in region.registry.releasable(book(HEAVY))] == ["small"]
        assert region.registry.left_out(book(HEAVY), [card()]) == []
        decided(region, "ada")
    with region_of(tmp_path / "none", book(HEAVY), cards=(card(),)) as region:
        decided(region, "ada")
        later(region)
        assert region.validate.step() == 0  # there is no heavier model yet
        region.registry.propose(heavy_card(), "author", HEAVY)
        assert region.validate.step() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validates": "nobody"}, "`validates` names `nobody`, no model of uplift that decides: take small"),
        ({"validates": None, "onnx": "a.onnx"}, "an `onnx` model is asked after the answer"),
        ({"onnx": "a.onnx"}, "`onnx` needs `onnx_hash`"),
    ],
)
def test_what_cannot_be_asked_is_said_when_a_release_is_made(
    tmp_path: Path, change: dict[str, str | None], message: str
) -> None:
    wrong = msgspec.structs.replace(HEAVY, **change)
    with region_of(tmp_path, cards=(card(),)) as region, pytest.raises(ReleaseError, match=message):
        region.release(book(wrong), [card()])


def test_a_file_that_is_not_what_the_playbook_says_is_told_after_the_others_had_their_turn(tmp_path: Path) -> None:
    onnx = msgspec.structs.replace(HEAVY, model="outside", onnx="a.onnx", onnx_hash="0" * 32)
    with at_work(tmp_path, "memory", onnx, HEAVY) as region:
        decided(region, "ada")
        later(region)
        with pytest.raises(ModelError, match="no ONNX file can be opened here"):
            region.validate.step()
        assert [one.decisions for one in region.validate.found()] == [1]
