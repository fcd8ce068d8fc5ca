"""Loads a playbook folder: every file strictly, every problem of every file at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from opportune.adapters.playbook.marks import Located, Marks
from opportune.adapters.playbook.nodes import FILE_BYTES_MAX, Entries, Entry, Items, Node, Text, read
from opportune.adapters.playbook.problems import PlaybookError, PlaybookProblem
from opportune.adapters.playbook.references import ReferenceProblem, check_references, documents_of
from opportune.adapters.playbook.shapes import convert
from opportune.adapters.playbook.sheets import read_sheet
from opportune.adapters.playbook.tables import rows_of
from opportune.core.catalog import Channel, Offer
from opportune.core.features import FeatureView
from opportune.core.playbook import App, ModelSpec, Playbook, Scenario, Source
from opportune.core.policies import Policy
from opportune.core.policies.table_documents import DecisionTable
from opportune.core.signals import SignalContract
from opportune.core.wording import closest, dotted, listed, quoted

APP_FILE = "opportune.yaml"
FILE_COUNT_MAX = 2000
SUFFIXES = (".yaml", ".yml")
SHEET_SUFFIX = ".csv"


class Collection(msgspec.Struct, frozen=True):
    """One kind of document: its folder, a top-level key of its files and its field in Playbook."""

    folder: str
    key: str
    field: str
    kind: Any
    required: bool = False


COLLECTIONS = (
    Collection("offers", "offers", "offers", Offer, required=True),
    Collection("features", "views", "views", FeatureView),
    Collection("policies", "policies", "policies", Policy, required=True),
    Collection("channels", "channels", "channels", Channel, required=True),
    Collection("schemas", "schemas", "contracts", SignalContract),
    Collection("sources", "sources", "sources", Source),
    Collection("models", "models", "models", ModelSpec),
    Collection("scenarios", "scenarios", "scenarios", Scenario),
)
TABLES = Collection("policies", "tables", "tables", DecisionTable)
"""Decision tables become policies: a playbook does not keep them."""

FILE_KINDS = (*COLLECTIONS, TABLES)


class LoadedPlaybook(msgspec.Struct, frozen=True):
    """A sound playbook and where each of its fields stands.

    `tables` are the policies that are rows of decision tables, and the names of those. `own` are the conditions of rows
    of which only one counts, before the rows above them were excluded.
    """

    playbook: Playbook
    marks: Marks
    own: Mapping[str, str] = {}
    tables: Mapping[str, str] = {}


def load(folder: Path | str) -> LoadedPlaybook:
    """Read, convert and cross-check a playbook folder; PlaybookError names every problem found."""
    root = Path(folder)
    if not root.is_dir():
        message = f"there is no folder {quoted(root)}: `opportune init` makes one"
        raise PlaybookError((PlaybookProblem(APP_FILE, 1, 1, "", message),), root)
    reading = _Reading(root)
    app = reading.app()
    tables = reading.tables()
    documents = {one.field: reading.collection(one) for one in COLLECTIONS}
    reading.strangers()
    if reading.problems or app is None:
        raise PlaybookError(dict.fromkeys(reading.problems), root)
    playbook = Playbook(app=app, **documents)
    rows = rows_of(playbook, tables, reading.located[TABLES.key])
    if rows.problems:
        raise PlaybookError(rows.problems, root)
    playbook = msgspec.structs.replace(playbook, policies=(*playbook.policies, *rows.policies))
    reading.located["policies"].extend(rows.located)
    marks = Marks({key: tuple(located) for key, located in reading.located.items()}, _first_positions(playbook))
    problems = [_placed(problem, marks) for problem in check_references(playbook)]
    if problems:
        raise PlaybookError(problems, root)
    return LoadedPlaybook(playbook, marks, rows.own, rows.tables)


class _Reading:
    """Reads the files of one folder, keeping documents, where they stand, and problems."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[PlaybookProblem] = []
        self.located: dict[str, list[Located]] = {"app": [], "moments": []}
        self.file_count = 0
        self.read_already: dict[Path, tuple[Text, Node | None]] = {}

    def app(self) -> App | None:
        path = self.root / APP_FILE
        if not path.exists():
            other = next((name for name in ("opportune.yml", "app.yaml") if (self.root / name).is_file()), None)
            fix = f"rename `{other}`" if other else "add it, or run `opportune init` for a new playbook"
            self.note(APP_FILE, f"`{APP_FILE}` is missing: {fix}")
            return None
        text, node = self.read(path)
        if node is None:
            return None
        app, problems = convert(text, node, App, ())
        self.problems.extend(problems)
        self.located["app"].append(Located(text, node))
        moments = node.get("moments") if isinstance(node, Entries) else None
        if moments is not None and isinstance(moments.value, Items):
            self.located["moments"].extend(Located(text, item) for item in moments.value.items)
        return app

    def collection(self, collection: Collection) -> tuple[Any, ...]:
        self.located[collection.key] = []
        found: list[Any] = []
        before = len(self.problems)
        for path in self.files(collection.folder):
            text, node = self.read(path)
            if node is not None:
                found.extend(self.documents(collection, text, node))
        others = any(self.located.get(one.key) for one in FILE_KINDS if one.folder == collection.folder)
        if collection.required and not others and len(self.problems) == before:
            example = f"{collection.folder}/{collection.folder}.yaml"
            message = (
                f"the playbook has no {collection.folder}: add `{example}` with a list under `{collection.key}:`"
            )
            self.note(f"{collection.folder}/", message)
        return tuple(found)

    def tables(self) -> tuple[DecisionTable, ...]:
        """The decision tables: those in YAML files, then the sheets."""
        found = list(self.collection(TABLES))
        for path in self.files(TABLES.folder, (SHEET_SUFFIX,)):
            content = self.content(path)
            if content is None:
                continue
            text, node, problems = read_sheet(path.relative_to(self.root).as_posix(), content)
            self.problems.extend(problems)
            if node is not None:
                position = len(self.located[TABLES.key])
                self.located[TABLES.key].append(Located(text, node))
                table, problems = convert(text, node, DecisionTable, (TABLES.key, position))
                self.problems.extend(problems)
                found += [] if table is None else [table]
        return tuple(found)

    def documents(self, collection: Collection, text: Text, node: Node) -> Iterable[Any]:
        entry = self.only_key(collection, text, node)
        if entry is None:
            return
        if not isinstance(entry.value, Items):
            message = f"`{collection.key}` must be a list: start each document with `- `"
            self.problems.append(text.problem(entry.key.start, collection.key, message))
            return
        for index, item in enumerate(entry.value.items):
            self.located[collection.key].append(Located(text, item))
            document, problems = convert(text, item, collection.kind, (collection.key, index))
            self.problems.extend(problems)
            if document is not None:
                yield document

    def only_key(self, collection: Collection, text: Text, node: Node) -> Entry | None:
        key = collection.key
        if collection is TABLES:  # what else is wrong with the file is told with its policies
            return node.get(key) if isinstance(node, Entries) else None
        keys = [one.key for one in FILE_KINDS if one.folder == collection.folder]
        rule = f"a file in {collection.folder}/ holds {' or '.join(f'one list under `{one}:`' for one in keys)}"
        if not isinstance(node, Entries):
            self.problems.append(text.problem(node.start, "", f"`{key}:` is missing: {rule}"))
            return None
        for entry in node.entries:
            if entry.name not in keys:
                place = next((one.folder for one in COLLECTIONS if one.key == entry.name), None)
                advice = f"move this to {place}/" if place else rule
                nearest = None if place else closest(entry.name, keys)
                message = f"unknown key {quoted(entry.name)}: {advice}"
                self.problems.append(text.problem(entry.key.start, entry.name, message, nearest))
        found = node.get(key)
        if found is None and not node.entries:
            self.problems.append(text.problem(node.start, "", f"`{key}:` is missing: {rule}"))
        return found

    def files(self, folder: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
        """The files of a folder, sorted by name; folders inside it must not hold any."""
        path = self.root / folder
        if not path.is_dir():
            return []
        found: list[Path] = []
        for inner in self.inside(path):
            if inner.name.startswith("."):
                continue
            if inner.is_dir():
                if any(one.suffix in suffixes for one in self.inside(inner)):
                    name = f"{folder}/{inner.name}/"
                    self.note(name, f"folders inside {folder}/ are not read: move its files up to {folder}/")
            elif inner.suffix in suffixes:
                found.append(inner)
        return found

    def inside(self, folder: Path) -> list[Path]:
        """What a folder holds, sorted by name; nothing when it cannot be read, which is noted."""
        try:
            return sorted(folder.iterdir(), key=lambda one: one.name)
        except OSError as error:
            name = folder.relative_to(self.root).as_posix()
            self.note(f"{name}/", f"the folder cannot be read: {error.strerror or 'check it'}")
            return []

    def read(self, path: Path) -> tuple[Text, Node | None]:
        """The file's nodes; None when it holds nothing that can be used, which is noted. Each file is read once."""
        if path not in self.read_already:
            file, content = path.relative_to(self.root).as_posix(), self.content(path)
            if content is None:
                self.read_already[path] = Text(file, "", (0,)), None
            else:
                text, node, problems = read(file, content)
                self.problems.extend(problems)
                if node is None and not problems:
                    self.note(file, "the file is empty: fill it or remove it")
                self.read_already[path] = text, node
        return self.read_already[path]

    def content(self, path: Path) -> bytes | None:
        """The file's bytes; None when it cannot be read, which is noted."""
        file = path.relative_to(self.root).as_posix()
        self.file_count += 1
        if self.file_count > FILE_COUNT_MAX:
            raise PlaybookError(
                (PlaybookProblem(file, 1, 1, "", f"more than {FILE_COUNT_MAX} files: put documents together"),),
                self.root,
            )
        try:
            if not path.resolve().is_relative_to(self.root.resolve()):
                reason = "this link leads out of the playbook: copy the file instead"
            elif not path.is_file():
                reason = "this is not a file: remove or rename it"
            else:
                with path.open("rb") as stream:
                    return stream.read(FILE_BYTES_MAX + 1)
        except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
            reason = f"the file cannot be read: {getattr(error, 'strerror', None) or 'check it'}"
        self.note(file, reason)
        return None

    def strangers(self) -> None:
        """Note folders whose name is nearly one that is read: their files would be left out silently."""
        names = [one.folder for one in COLLECTIONS]
        for path in self.inside(self.root):
            nearest = closest(path.name, names)
            absent = nearest is not None and not (self.root / nearest).is_dir()
            if path.is_dir() and path.name not in names and absent:
                message = f"folder {quoted(path.name)} is not read: the folders are {listed(names)}"
                self.note(f"{path.name}/", message, nearest)

    def note(self, file: str, message: str, nearest: str | None = None) -> None:
        self.problems.append(PlaybookProblem(file, 1, 1, "", message, nearest))


def _first_positions(playbook: Playbook) -> dict[tuple[str, str], int]:
    first: dict[tuple[str, str], int] = {}
    for collection, documents in documents_of(playbook).items():
        for position, (id_, _) in enumerate(documents):
            first.setdefault((collection, id_), position)
    return first


def _placed(problem: ReferenceProblem, marks: Marks) -> PlaybookProblem:
    place = marks.at(
        problem.collection, problem.position, *problem.field, line=problem.line, column=problem.column,
        on_key=problem.on_key,
    )  # fmt: skip
    message = problem.message
    if problem.first is not None:
        message += f" (first in {marks.at(problem.collection, problem.first, *problem.field)})"
    path = dotted((problem.collection, problem.id, *problem.field))
    return PlaybookProblem(place.file, place.line, place.column, path, message, problem.nearest)
