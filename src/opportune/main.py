"""The command line's composition root: builds the application and hands it the machine, lazily."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from opportune.doors.cli.output import Refusal
from opportune.doors.cli.workbench import Place, Trouble, Vital

if TYPE_CHECKING:
    from opportune.core.models import Scorecard, Trainer
    from opportune.core.playbook import ModelSpec, Playbook, Scenario
    from opportune.doors.cli.workbench import World
    from opportune.doors.http.keys import Keyring
    from opportune.flows.region import Region
    from opportune.ports import ColumnFiles, Linker, OfflineFeatures, TableReader


class Machine:
    """Implements Workbench over the products that `wiring` names; each is imported when it is asked for."""

    def sentences(self, error: BaseException) -> list[str] | None:
        if isinstance(error, OSError):
            where = f" `{error.filename}`" if error.filename else ""
            return [f"the file system refused{where}: {(error.strerror or str(error)).lower()}"]
        if not isinstance(error, _spoken()):
            return None
        problems = getattr(error, "problems", None)
        return [str(problem) for problem in problems] if problems else [str(error)]

    def scaffold(self, folder: Path, sample: str) -> Sequence[Path]:
        from opportune.adapters.playbook import scaffold

        return scaffold(folder, sample)

    def load(self, folder: Path) -> Playbook:
        from opportune.adapters.playbook import load

        return load(folder).playbook

    def examine(self, folder: Path, at_ms: int | None = None) -> tuple[Playbook | None, list[Trouble]]:
        from opportune.adapters.playbook.examine import examine

        found = examine(folder, at_ms)
        troubles = [
            Trouble(one.file, one.line, one.column, one.path, str(one).split(": ", 1)[1], level)
            for level, problems in (("error", found.problems), ("warning", found.warnings), ("note", found.notes))
            for one in problems
        ]
        if found.playbook is not None:
            troubles += _unlearnable(found.playbook, self.places(folder, "models"))
        return found.playbook, troubles

    def places(self, folder: Path, collection: str) -> Mapping[str, str]:
        from opportune.adapters.playbook import load

        marks = load(folder).marks
        return {id_: str(marks.where(kind, id_)) for kind, id_ in marks.first if kind == collection}

    def add_scenario(self, folder: Path, scenario: Scenario) -> Path:
        from opportune.adapters.playbook import add_scenario

        return add_scenario(folder, scenario)

    def card(self, file: Path) -> Scorecard:
        from opportune.core.models import decode_card
        from opportune.core.registry import format_of

        data = file.read_bytes()
        format_of(data, f"`{file}`")
        return decode_card(data)

    def whereabouts(self, folder: Path) -> Mapping[str, str]:
        from opportune.adapters.playbook import load

        loaded = load(folder)
        return {one.id: str(loaded.marks.where("policies", one.id)) for one in loaded.playbook.policies}

    def with_policies(self, playbook: Playbook, file: Path) -> Playbook:
        from opportune.adapters.playbook.changes import with_policies

        return with_policies(playbook, file)

    def place(self, folder: Path, region: str | None = None) -> Place:
        from opportune.wiring import data_folder

        project, home, regions = _names(folder) or _names_of(self.load(folder))
        if region is not None and region not in regions:
            listed = ", ".join(regions)
            raise Refusal(f"`--region {region}` is no region of the playbook: it has {listed}")
        return Place(folder, data_folder(folder), project, region or home, home, regions)

    @contextlib.contextmanager
    def writing(self, place: Place) -> Iterator[Region]:
        from opportune.wiring import open_region, writing

        with writing(place.stores):
            region = open_region(place.data, place.project, place.region)
            try:
                yield region
            finally:
                region.close()

    @contextlib.contextmanager
    def reading(self, place: Place) -> Iterator[Region]:
        from opportune.wiring import open_for_reading

        if not (place.stores / "records.db").is_file():
            where = f"`{place.folder}`" if place.region == place.home else f"`{place.folder}`, region {place.region},"
            raise Refusal(f"nothing is stored for {where} yet: `opportune serve` or `ingest` begins")
        region = open_for_reading(place.data, place.project, place.region)
        try:
            yield region
        finally:
            region.records.close()

    def fetched(self, source: str) -> tuple[bytes, str]:
        from opportune.wiring import fetched_model

        return fetched_model(source)

    def tracked(
        self, place: Place, card: Scorecard, files: Mapping[str, str], by: str, started_ms: int, ended_ms: int
    ) -> str | None:
        from opportune.wiring import tracked

        return tracked(card, files, place.project, by, started_ms, ended_ms)

    def keys(self, place: Place) -> tuple[Keyring, Mapping[str, str]]:
        from opportune.wiring import keyring

        return keyring(place.keys_file.parent, region=place.region)

    def add_key(self, place: Place, name: str, scopes: frozenset[str]) -> str:
        from opportune.wiring import add_key

        return add_key(place.keys_file.parent, name, scopes, place.region)

    def key_names(self, place: Place) -> Mapping[str, frozenset[str]]:
        from opportune.wiring import keyring, keys_of

        keyring(place.keys_file.parent, region=place.region)
        return {one.name: one.scopes for one in keys_of(place.keys_file.parent)}

    def revoke_key(self, place: Place, name: str) -> None:
        from opportune.wiring import revoke_key

        revoke_key(place.keys_file.parent, name, place.region)

    def trainer(self, spec: ModelSpec) -> Trainer:
        from opportune.wiring import trainer_of

        return trainer_of(spec)

    def report(self, place: Place, card: str, files: Mapping[str, str]) -> Path:
        from opportune.wiring import write_report

        return write_report(place.data, place.region, card, files)

    def tables(self) -> TableReader:
        from opportune.adapters.duckdb import DuckTables

        return DuckTables()

    def columns(self) -> ColumnFiles:
        from opportune.adapters.duckdb import DuckColumns

        return DuckColumns()

    def offline(self) -> OfflineFeatures:
        from opportune.adapters.duckdb import DuckOffline

        return DuckOffline()

    def linker(self) -> Linker:
        try:
            import splink  # noqa: F401
        except ImportError:
            raise Refusal("proposing needs Splink: pip install 'opportune[identity]'") from None
        from opportune.adapters.splink import SplinkLinker

        return SplinkLinker()

    def vitals(self, place: Place) -> list[Vital]:
        return [_sqlite(place), *_modes(place), _training(), _clock(place)]

    def accept_time(self, place: Place) -> None:
        from opportune.wiring import CLOCK, writing

        if place.stores.exists():
            with writing(place.stores):
                (place.stores / CLOCK).unlink(missing_ok=True)

    def world(self, seed: int, end_ms: int, delay_scale: float) -> World:
        from opportune.testing.world import World

        return World(seed, end_ms=end_ms, delay_scale=delay_scale)


def run() -> None:
    """The entry point `opportune`."""
    from opportune.doors.cli.app import build

    build()(obj=Machine())


def _spoken() -> tuple[type[Exception], ...]:
    """Errors of the domain, each with a sentence of its own that is shown without a trace."""
    from opportune.adapters.duckdb.tables import TableError
    from opportune.adapters.files.shelf import ShelfError
    from opportune.adapters.mlflow import MlflowError
    from opportune.adapters.playbook import PlaybookError, ScaffoldError
    from opportune.adapters.smtp import SmtpError
    from opportune.adapters.system.vault import VaultError
    from opportune.core.decisions.questions import QuestionError
    from opportune.core.drift.cases import CaseError
    from opportune.core.features import FeatureError
    from opportune.core.feedback import FeedbackError
    from opportune.core.ledger import LedgerError
    from opportune.core.models import LearnError, ModelError
    from opportune.core.offpolicy.log import LogError
    from opportune.core.policies import PolicyError
    from opportune.core.registry import RegistryError
    from opportune.core.releases import ReleaseError
    from opportune.core.sources import SourceError
    from opportune.doors.http.keys import KeysError
    from opportune.flows.batch_columns import BatchError
    from opportune.flows.dataset import DatasetError
    from opportune.flows.govern import GovernError
    from opportune.flows.merges import IdentityError
    from opportune.flows.quarantine import QuarantineError
    from opportune.flows.region import NotReady
    from opportune.ports import StoreBroken, StoreFull
    from opportune.wiring import InUse

    return (
        PlaybookError, ScaffoldError, ShelfError, SmtpError, VaultError, TableError, SourceError, QuestionError,
        FeatureError, PolicyError, ReleaseError, ModelError, LearnError, LedgerError, GovernError, IdentityError,
        FeedbackError, LogError, NotReady, StoreBroken, StoreFull, InUse, QuarantineError, KeysError, DatasetError,
        BatchError, RegistryError, MlflowError, CaseError,
    )  # fmt: skip


def _unlearnable(playbook: Playbook, places: Mapping[str, str]) -> Iterator[Trouble]:
    """Models whose settings are none of their algorithm's, each at its place."""
    for spec in playbook.models:
        if not spec.settings:
            continue
        from opportune.core.models import LearnError
        from opportune.wiring import trainer_of

        try:
            trainer_of(spec)
        except LearnError as error:
            file, line, column = places[spec.model].rsplit(":", 2)
            yield Trouble(file, int(line), int(column), "settings", str(error))


def _names(folder: Path) -> tuple[str, str, tuple[str, ...]] | None:
    """Project, home region and all regions from the settings alone, so that a broken offer stops no rollback; None
    when unclear."""
    import re

    try:
        text = (folder / "opportune.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = dict(re.findall(r"^(project|region):[ \t]*([A-Za-z0-9_.-]+)[ \t]*(?:#.*)?$", text, re.MULTILINE))
    if "project" not in found or ("region" not in found and re.search(r"^region:", text, re.MULTILINE)):
        return None
    home = found.get("region", "eu")
    regions = _regions(text, home)
    return None if regions is None or home not in regions else (found["project"], home, regions)


def _regions(text: str, home: str) -> tuple[str, ...] | None:
    """`regions` of the settings' text, in either way of writing a list; just the home region where there are none."""
    import re

    if not re.search(r"^regions:", text, re.MULTILINE):
        return (home,)
    name, end = r"[a-z][a-z0-9-]*", r"[ \t]*(?:#.*)?$"
    flow = re.search(rf"^regions:[ \t]*\[[ \t]*({name}(?:[ \t]*,[ \t]*{name})*)[ \t]*\]{end}", text, re.MULTILINE)
    block = re.search(rf"^regions:{end}((?:\n[ \t]*-[ \t]+{name}{end})+)", text, re.MULTILINE)
    found = flow or block
    return None if found is None else tuple(re.findall(rf"(?<![#\w-]){name}", re.sub(r"#.*", "", found.group(1))))


def _names_of(playbook: Playbook) -> tuple[str, str, tuple[str, ...]]:
    return playbook.app.project, playbook.app.region, playbook.app.every_region


def _sqlite(place: Place) -> Vital:
    """Opens a store of its own where the region's would be, to see what the disk really grants."""
    import sqlite3
    import tempfile

    from opportune.adapters.sqlite.file import open_for_writing
    from opportune.ports import StoreBroken

    version = sqlite3.sqlite_version
    folder = place.data if place.data.exists() else place.folder
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            connection = open_for_writing(Path(scratch) / "doctor.db")
            (level,) = connection.execute("PRAGMA synchronous").fetchone()
            connection.close()
    except (StoreBroken, OSError, sqlite3.Error) as error:
        return Vital("sqlite", "bad", f"{version}: {error}", "use a local disk that this user may write to")
    return Vital("sqlite", "ok", f"{version}, write-ahead log, synchronous={'FULL' if level == 2 else level}")


def _modes(place: Place) -> list[Vital]:
    """Whether the keys can be read by their owner alone."""
    places = [place.of(region) for region in place.regions or (place.region,)]
    keys = [
        path
        for one in places
        for path in (one.keys_file, *sorted((one.stores / "keys").glob("*.key")))
        if path.is_file()
    ]
    if not keys:
        return [Vital("keys", "note", "none yet", "they are made on first use")]
    from opportune.private_files import is_private

    open_ones = [path for path in keys if not is_private(path)]
    if open_ones:
        names = " ".join(str(path) for path in open_ones)
        return [Vital("keys", "bad", f"{len(open_ones)} can be read by others", f"run chmod 600 {names}")]
    regions = f" of {len(places)} regions" if len(places) > 1 else ""
    return [Vital("keys", "ok", f"{len(keys)} files{regions}, readable by their owner alone")]


def _training() -> Vital:
    if find_spec("sklearn") is None:
        return Vital("training", "note", "scikit-learn is not installed", "pip install 'opportune[ml]' to train")
    return Vital("training", "ok", "scikit-learn is installed")


if __name__ == "__main__":
    run()


def _clock(place: Place) -> Vital:
    from opportune.adapters.system.steady import step_ms_since
    from opportune.wiring import CLOCK

    step_ms = step_ms_since(place.stores / CLOCK)
    if not step_ms:
        found = "no time is kept in this boot yet" if step_ms is None else "Opportune's time is the machine's"
        return Vital("clock", "ok", found)
    way = "forward" if step_ms > 0 else "back"
    found = f"the machine's clock was set {way} by {abs(step_ms) / 1000:,.0f} s and is not followed: limits are kept"
    fix = "if it is right now, stop `opportune serve`, run `opportune doctor --accept-time`, and start it again"
    return Vital("clock", "bad", found, fix)
