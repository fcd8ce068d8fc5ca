"""What the commands need of the machine: the composition root implements it, so that commands name no product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from opportune.core.models import Scorecard, Trainer
    from opportune.core.playbook import ModelSpec, Playbook, Scenario
    from opportune.doors.http.keys import Keyring
    from opportune.flows.region import Region
    from opportune.ports import ColumnFiles, Linker, OfflineFeatures, TableReader


@dataclass(frozen=True)
class Place:
    """A playbook folder and where the state of one region lives: `stores` is the region's folder in `data`.

    `home` is where customers live when nothing else is said, `regions` all there are (empty: only this one).
    """

    folder: Path
    data: Path
    project: str
    region: str
    home: str = ""
    regions: tuple[str, ...] = ()

    def of(self, region: str) -> Place:
        """The same playbook, another region."""
        return replace(self, region=region)

    @property
    def stores(self) -> Path:
        return self.data / self.region

    @property
    def ledger(self) -> Path:
        return self.stores / "ledger"

    @property
    def keys_file(self) -> Path:
        """The home region's keys lie where they always did; every other region has its own beside its stores."""
        return (self.data if self.region == (self.home or self.region) else self.stores) / "api_keys.json"


@dataclass(frozen=True)
class Trouble:
    """One thing `check` found, at its place; `level` is error, warning or note."""

    file: str
    line: int
    column: int
    path: str
    message: str
    level: str = "error"

    def __str__(self) -> str:
        mark = "" if self.level == "error" else f"{self.level}: "
        return f"{self.file}:{self.line}:{self.column}: {mark}{self.message}"


@dataclass(frozen=True)
class Vital:
    """One thing `doctor` looked at; `status` is ok, note or bad, `fix` what to do about it."""

    name: str
    status: str
    found: str
    fix: str = ""


class World(Protocol):
    """The simulated company behind `demo`; see `opportune.testing.world.World`."""

    def history(self) -> Iterator[dict[str, Any]]: ...

    def live(self, start_ms: int, rate: float) -> Iterator[dict[str, Any]]: ...

    def respond(
        self, customer_id: str, decision_answer: Mapping[str, Any] | None, at_ms: int
    ) -> list[dict[str, Any]]: ...


class Workbench(Protocol):
    """Everything a command may take hold of; nothing is imported or opened before it is asked for."""

    def sentences(self, error: BaseException) -> list[str] | None:
        """The error in the words of its domain, one sentence each; None for one that nobody expected."""

    def scaffold(self, folder: Path, sample: str) -> Sequence[Path]: ...

    def load(self, folder: Path) -> Playbook: ...

    def examine(self, folder: Path, at_ms: int | None = None) -> tuple[Playbook | None, list[Trouble]]:
        """The playbook, when it loads, and everything that is wrong with it, compiled whole; also what is over at
        an instant, when one is given."""

    def places(self, folder: Path, collection: str) -> Mapping[str, str]:
        """Where each document of a collection stands, by its id: `scenarios/first.yaml:12:5`."""

    def add_scenario(self, folder: Path, scenario: Scenario) -> Path:
        """Written into the playbook's folder; the file."""

    def card(self, file: Path) -> Scorecard:
        """The scorecard in a file; ModelError when it holds none."""

    def whereabouts(self, folder: Path) -> Mapping[str, str]:
        """`file:line:column` of each policy of a playbook."""

    def with_policies(self, playbook: Playbook, file: Path) -> Playbook:
        """The playbook with the policies and tables of one file put in."""

    def place(self, folder: Path, region: str | None = None) -> Place:
        """Where a region lives, the home region when none is named; Refusal when the playbook has no such region."""

    def writing(self, place: Place) -> AbstractContextManager[Region]:
        """The region, to write to: holds the one right to, publishes the ledger and closes at the end."""

    def reading(self, place: Place) -> AbstractContextManager[Region]:
        """The region, to read from, also beside a running server."""

    def fetched(self, source: str) -> tuple[bytes, str]:
        """The bytes of a model from a file or another registry (`mlflow:NAME/VERSION`), and where they came from."""

    def tracked(
        self, place: Place, card: Scorecard, files: Mapping[str, str], by: str, started_ms: int, ended_ms: int
    ) -> str | None:
        """Logs a training run to a tracking server, when one is set up: a sentence about it. Never fails."""

    def keys(self, place: Place) -> tuple[Keyring, Mapping[str, str]]: ...

    def add_key(self, place: Place, name: str, scopes: frozenset[str]) -> str:
        """A new API key; KeysError when the name is taken."""

    def key_names(self, place: Place) -> Mapping[str, frozenset[str]]:
        """The scopes of every API key by its name."""

    def revoke_key(self, place: Place, name: str) -> None:
        """KeysError when no key is called so."""

    def trainer(self, spec: ModelSpec) -> Trainer:
        """LearnError when there is none for the spec's algorithm and settings."""

    def report(self, place: Place, card: str, files: Mapping[str, str]) -> Path:
        """Puts what is found out about a card beside it, as files; their folder."""

    def tables(self) -> TableReader: ...

    def columns(self) -> ColumnFiles: ...

    def linker(self) -> Linker: ...

    def offline(self) -> OfflineFeatures: ...

    def vitals(self, place: Place) -> list[Vital]:
        """What only the products know: stores, keys, libraries, the clock."""

    def accept_time(self, place: Place) -> None:
        """From the next start on, time is what the machine's clock says; InUse while somebody keeps time."""

    def world(self, seed: int, end_ms: int, delay_scale: float) -> World: ...
