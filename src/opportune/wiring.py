"""The wiring: the only module that names products; builds one set of ports and flows per region."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from opportune.adapters.files.keys import load_or_create_key
from opportune.adapters.files.published import PublishedLedger
from opportune.adapters.files.scan import FileScanner
from opportune.adapters.files.shelf import FileShelf
from opportune.adapters.memory.pulse import MemoryPulse
from opportune.adapters.smtp import couriers_of
from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.sqlite.reading import SqliteReading
from opportune.adapters.system.clock import SystemClock
from opportune.adapters.system.steady import Steady
from opportune.adapters.system.vault import FileVault
from opportune.core.features import ReaderSpec
from opportune.core.models import LearnError, ModelError, Scorecard, Trainer
from opportune.core.models.disagreement import HeavyModel
from opportune.core.playbook import ModelSpec
from opportune.core.registry import RegistryError
from opportune.doors.http.keys import Keyring, KeysError, Named, Scopes, named_keys, ring_of
from opportune.flows.region import Region
from opportune.ports import FeatureReader, StoreBroken
from opportune.private_files import make_private, write_private

DATA_FOLDER = ".opportune"
API_KEYS = "api_keys.json"
REPORTS = "reports"
"""Where a region keeps what `train` says of each card, in a folder called as the card."""

EXPORTS = "exports"
"""Where a region keeps exports of customers until they are handed over; an erasure removes them."""

RECORDS = "records.db"
KEYS = "keys"
CLOCK = "clock.json"
"""How time goes on in a region after a restart, see `adapters.system.steady`."""


class InUse(RuntimeError):
    """Another process writes to this data folder."""


def data_folder(playbook: Path) -> Path:
    """Where a playbook's state lives: beside its documents, out of git."""
    return playbook / DATA_FOLDER


def origin_of(project: str, region: str) -> str:
    """The name of a region's ledger, and of the key that signs it."""
    return f"opportune.local/{project}/{region}"


@contextlib.contextmanager
def writing(data: Path) -> Iterator[None]:
    """Holds the one right to write to a region's folder; InUse when another process has it.

    INVARIANT: customer state is cached in the writer's memory, so there is never a second writer.
    """
    data.mkdir(parents=True, exist_ok=True)
    with (data / "writer.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another process works on `{data}`: stop it (is `opportune serve` running?) or use its API"
            raise InUse(message) from None
        yield


def open_region(data: Path, project: str, region: str) -> Region:
    """One region over its own files and keys. The caller holds `writing`, or only reads."""
    folder = data / region
    folder.mkdir(parents=True, exist_ok=True)
    vault = vault_of(folder)
    return region_over(folder, project, region, SqliteRecords(folder / RECORDS, vault), vault)


def open_for_reading(data: Path, project: str, region: str) -> Region:
    """One region to read from, also beside the process that writes it; StoreBroken when there is no store."""
    folder = data / region
    if not (folder / RECORDS).is_file():
        # Before the vault, which would make its keys there.
        raise StoreBroken(f"there is no store at `{folder / RECORDS}`")
    vault = vault_of(folder)
    return region_over(folder, project, region, SqliteReading(folder / RECORDS, vault), vault, keep_time=False)


def vault_of(folder: Path) -> FileVault:
    """The keys of a region's folder, made on first use; what its store keeps about somebody is sealed under them."""
    return FileVault(folder / KEYS, folder / "secrets")


def region_over(
    folder: Path, project: str, region: str, records: SqliteRecords, vault: FileVault, *, keep_time: bool = True
) -> Region:
    """The region of a folder over records that are open and sealed by this vault. Its time never begins before the
    newest decision."""
    newest_ms = max((one.at_ms for one in records.decisions(20)), default=0)
    key = load_or_create_key(folder / KEYS / "ledger.key")
    ledger = PublishedLedger(folder / "ledger", origin_of(project, region), key, records)
    return Region(
        name=region,
        records=records,
        ledger=ledger,
        vault=vault,
        clock=SystemClock(Steady(file=folder / CLOCK, not_before_ms=newest_ms, keep=keep_time)),
        pulse=MemoryPulse(),
        warm=freeze,
        scan=FileScanner(lambda: scanned_of(folder), folder / EXPORTS),
        couriers=couriers_of(folder / "secrets"),
        readers=lambda spec: reader_of(folder.parent.parent, spec),
        shelf=FileShelf(folder / "shelf"),
        onnx=lambda spec: onnx_of(folder.parent.parent, spec),
    )


def onnx_of(playbook: Path, spec: ModelSpec) -> HeavyModel:
    """The ONNX file of a model's description; ModelError when it leads out of the playbook or is not what it says."""
    from opportune.adapters.onnx import open_model

    path = playbook / str(spec.onnx)
    if not path.resolve().is_relative_to(playbook.resolve()):
        raise ModelError(f"model `{spec.model}`: `{spec.onnx}` leads out of the playbook: put the file into it")
    return open_model(path, spec.onnx_hash, spec.model, spec.features)


def reader_of(playbook: Path, spec: ReaderSpec) -> FeatureReader:
    """What reads the features of a view from outside; ValueError when a link leads out of the playbook."""
    path = playbook / spec.path
    if not Path(spec.path).is_absolute() and not path.resolve().is_relative_to(playbook.resolve()):
        raise ValueError(f"`{spec.path}` leads out of the playbook: give an absolute path")
    if spec.kind == "feast":
        from opportune.adapters.feast import FeastReader

        return FeastReader(path, spec.entity)
    from opportune.adapters.sql_features import SqlReader

    assert spec.table is not None
    assert spec.time is not None
    return SqlReader(path, spec.table, spec.entity, spec.time)


def scanned_of(folder: Path) -> list[Path]:
    """What an erasure scans: the region's folder and what lies beside it, but no other region's."""
    beside = [one for one in sorted(folder.parent.iterdir()) if not (one / RECORDS).is_file()]
    return [folder, *(one for one in beside if one != folder)]


def fetched_model(source: str) -> tuple[bytes, str]:
    """The bytes of a model from a file, or from an MLflow registry (`mlflow:NAME/VERSION`), and where they came from;
    RegistryError or MlflowError when they cannot be had."""
    if not source.startswith("mlflow:"):
        path = Path(source)
        if not path.is_file():
            message = f"there is no file `{source}`: name a scorecard or a LightGBM text, or mlflow:NAME/VERSION"
            raise RegistryError("unreadable", message)
        return path.read_bytes(), f"file {path.name}"
    from opportune.adapters.mlflow import MlflowError, fetched, parse_reference, server_of

    reference, server = parse_reference(source), server_of(os.environ)
    if server is None:
        raise MlflowError("set MLFLOW_TRACKING_URI to the address of the MLflow server that has the model")
    return fetched(server, reference)


def tracked(
    card: Scorecard, files: Mapping[str, str], project: str, by: str, started_ms: int, ended_ms: int
) -> str | None:
    """Logs a training run to the MLflow server that MLFLOW_TRACKING_URI names; a sentence about it, None without one.

    INVARIANT: a server that is down never fails a training: the sentence says so, and how to send it later.
    """
    from opportune.adapters.mlflow import MlflowError, log_run, server_of

    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or f"opportune {project}"
    try:
        server = server_of(os.environ)
        if server is None:
            return None
        run = log_run(
            server, card, files, experiment=experiment, by=by, started_ms=started_ms, ended_ms=ended_ms
        )
    except MlflowError as error:
        return f"not logged to MLflow, the model itself is kept: {error}; `opportune models log MODEL` sends it later"
    return f"logged to MLflow as run {run} of `{experiment}` at {server.shown}"


def keyring(
    data: Path, extra: dict[str, Scopes] | None = None, region: str | None = None
) -> tuple[Keyring, dict[str, str]]:
    """The keys in a folder, made on first use (file mode 0600), and what to print: name to key.

    New keys say which region they belong to, so that another region can tell where to send them.
    """
    path = data / API_KEYS
    if not path.exists():
        made = {"api_key": new_key("opp", region, 24), "write_key": new_key("wk", region, 18)}
        data.mkdir(parents=True, exist_ok=True)
        make_private(path, json.dumps(made, indent=1).encode())
    keys = [*keys_of(data), *(Named("key", key, scopes) for key, scopes in (extra or {}).items())]
    return ring_of(keys), {one.name: one.key for one in keys}


def new_key(kind: str, region: str | None, size: int) -> str:
    """A key of `size` random bytes, such as `opp_eu_…`; `opp_…` where no region is named."""
    return "_".join((kind, *(() if region is None else (region,)), secrets.token_urlsafe(size)))


def keys_of(data: Path) -> list[Named]:
    """The API keys of a data folder; KeysError when their file is not what it must be."""
    try:
        return named_keys(json.loads((data / API_KEYS).read_text()))
    except ValueError as error:
        raise KeysError(f"`{data / API_KEYS}` cannot be used: {error}") from None


def add_key(data: Path, name: str, scopes: Scopes, region: str | None = None) -> str:
    """A new key with these scopes, kept in the file of keys; KeysError when the name is taken."""
    keyring(data, region=region)
    kept = json.loads((data / API_KEYS).read_text())
    if name in kept:
        raise KeysError(f"there is a key called `{name}` already: revoke it first, or choose another name")
    kept[name] = {"key": new_key("opp", region, 24), "scopes": sorted(scopes)}
    write_private(data / API_KEYS, json.dumps(kept, indent=1).encode())
    return str(kept[name]["key"])


def revoke_key(data: Path, name: str, region: str | None = None) -> None:
    """Takes a key out of the file of keys; KeysError when there is none of this name."""
    keyring(data, region=region)
    kept = json.loads((data / API_KEYS).read_text())
    if name not in kept:
        raise KeysError(f"no key is called `{name}`: there are {', '.join(sorted(kept)) or 'none'}")
    del kept[name]
    write_private(data / API_KEYS, json.dumps(kept, indent=1).encode())


def write_report(data: Path, region: str, card: str, files: Mapping[str, str]) -> Path:
    """Puts a card's report beside it on the shelf, each file whole and readable by its owner alone; the folder."""
    folder = data / region / "shelf" / REPORTS / card
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_private(folder / name, text.encode())
    return folder


def trainer_of(spec: ModelSpec) -> Trainer:
    """What learns by the algorithm of a model's spec; LearnError when it cannot, naming what to change or install."""
    if spec.onnx is not None:
        raise LearnError(f"model `{spec.model}` is the file `{spec.onnx}`, learned elsewhere: it is not trained here")
    if spec.algorithm == "ebm":
        from opportune.adapters.ebm.train import EbmTrainer

        return EbmTrainer(spec.settings)
    if spec.algorithm == "additive":
        from opportune.adapters.sklearn.train import SklearnTrainer

        if spec.settings:
            raise LearnError(f"algorithm `additive` has no setting `{next(iter(spec.settings))}`: it has none at all")
        return SklearnTrainer()
    from opportune.adapters.lightgbm import LightgbmTrainer

    return LightgbmTrainer(spec.algorithm, spec.settings)


def freeze() -> None:
    """Moves what was loaded out of the garbage collector's sight: a full collection would stop decisions.

    Decisions make no cycles, so the young generation may grow larger before it is searched: 12 % less CPU each.
    The writer's thread wakes up after every sync and must not wait 5 ms for a turn: p99 at 16 callers fell from
    some 200 ms to 24 ms on a busy machine.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(0.0005)
