"""YAML 1.2 text to a tree of nodes that know where they stand; the parts of YAML that surprise are refused."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from opportune.adapters.playbook.problems import Place, PlaybookProblem
from opportune.core.wording import quoted

FILE_BYTES_MAX = 1 << 20
DEPTH_MAX = 32
NODE_COUNT_MAX = 100_000

# YAML 1.2.2, 10.3.2 "Core schema: tag resolution"; `NO`, `on` and dates stay text.
_NULL = re.compile(r"(?:~|null|Null|NULL|)")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))")
_NUMBER_CHARS_MAX = 400
_TAG = re.compile(r"![^\s,\[\]{}]*")


class Scalar(msgspec.Struct, frozen=True):
    """A single value: where its text starts and ends, and how it is quoted (`style`: "", ', ", | or >)."""

    value: bool | int | float | str | None
    start: int
    end: int
    style: str


class Items(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    start: int


class Entry(msgspec.Struct, frozen=True):
    """A key and its value."""

    key: Scalar
    name: str
    value: Node


class Entries(msgspec.Struct, frozen=True):
    """A mapping; its keys are text and unique."""

    entries: tuple[Entry, ...]
    start: int

    def get(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name), None)


Node = Scalar | Items | Entries


class Text(msgspec.Struct, frozen=True):
    """The text of one file, able to say on which line a character is."""

    file: str
    text: str
    line_starts: tuple[int, ...]

    def place(self, index: int) -> Place:
        index = max(0, min(index, len(self.text)))
        line = bisect_right(self.line_starts, index) - 1
        return Place(self.file, line + 1, index - self.line_starts[line] + 1)

    def problem(self, index: int, path: str, message: str, nearest: str | None = None) -> PlaybookProblem:
        place = self.place(index)
        return PlaybookProblem(place.file, place.line, place.column, path, message, nearest)


def as_text(file: str, text: str) -> Text:
    starts = [0, *(found.end() for found in re.finditer(r"\r\n|\n|\r", text))]
    return Text(file, text, tuple(starts))


def read(file: str, content: bytes) -> tuple[Text, Node | None, tuple[PlaybookProblem, ...]]:
    """The file as nodes (None when it is empty or cannot be read) with everything refused on the way."""
    try:
        text = as_text(file, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        good = as_text(file, content[: error.start].decode("utf-8-sig", "replace"))
        return good, None, (good.problem(len(good.text), "", "this is not UTF-8: save the file as UTF-8"),)
    if len(content) > FILE_BYTES_MAX:
        message = f"the file is larger than {FILE_BYTES_MAX} bytes: split it"
        return text, None, (text.problem(0, "", message),)
    build = _Build(text)
    try:
        node = build.document(iter(YAML(typ="safe", pure=True).parse(text.text)))
    except _RefusedError:
        return text, None, tuple(build.problems)
    except ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(str(error.character)[0])
        message = f"character U+{code:04X} is not allowed: remove it"
        return text, None, (*build.problems, text.problem(int(error.position), "", message))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return text, None, (*build.problems, text.problem(mark.index if mark else 0, "", _sentence(error)))
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # ruamel's scanner leaks plain Python errors for some broken inputs.
        message = f"this is not YAML: {quoted(error)}"
        return text, None, (*build.problems, text.problem(build.index, "", message))
    return text, node, tuple(build.problems)


class _RefusedError(Exception):
    """Reading stops here; the problem is already noted."""


class _Build:
    """Builds nodes from the events of one file, noting problems."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.problems: list[PlaybookProblem] = []
        self.index = 0
        self.node_count = 0

    def document(self, events: Iterator[Event]) -> Node | None:
        node: Node | None = None
        document_count = 0
        for event in events:
            self.index = event.start_mark.index
            if isinstance(event, DocumentStartEvent):
                document_count += 1
                if event.version or event.tags:
                    self.note(0, "directives are not used here: remove the line that starts with `%`")
                if document_count > 1:
                    self.stop(self.index, "only one document per file: put the rest into a file of its own")
            elif isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent | AliasEvent):
                node = self.node(event, events, 1)
        return node

    def node(self, event: Event, events: Iterator[Event], depth: int) -> Node:
        self.index = event.start_mark.index
        self.node_count += 1
        if depth > DEPTH_MAX:
            self.stop(self.index, f"nested deeper than {DEPTH_MAX} levels: flatten it")
        if self.node_count > NODE_COUNT_MAX:
            self.stop(self.index, f"more than {NODE_COUNT_MAX} values in one file: split it")
        if isinstance(event, AliasEvent):
            self.note(self.index, f"alias `*{event.anchor}` is not used here: write the value out")
            return Scalar(None, self.index, event.end_mark.index, "*")
        self.refuse_properties(event)
        if isinstance(event, MappingStartEvent):
            return self.entries(event, events, depth)
        if isinstance(event, SequenceStartEvent):
            items = []
            for inner in events:
                if isinstance(inner, SequenceEndEvent):
                    break
                items.append(self.node(inner, events, depth + 1))
            return Items(tuple(items), event.start_mark.index)
        if isinstance(event, ScalarEvent):
            return self.scalar(event)
        raise ValueError("a value is missing")

    def entries(self, event: Event, events: Iterator[Event], depth: int) -> Entries:
        found: dict[str, Entry] = {}
        for key_event in events:
            if isinstance(key_event, MappingEndEvent):
                break
            key = self.node(key_event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if isinstance(value, Scalar) and value.start == value.end:
                # YAML places an empty value at the next token, often lines below: show its key instead.
                value = Scalar(value.value, key.start, key.start, "")
            if not isinstance(key, Scalar):
                self.note(key.start, "a key must be plain text, not a list or mapping")
                continue
            if not isinstance(key.value, str):
                if key.style != "*":
                    raw = self.text.text[key.start : key.end]
                    self.note(key.start, f"key {quoted(raw)} is not read as text: put it in quotes")
                continue
            first = found.get(key.value)
            if first is not None:
                line = self.text.place(first.key.start).line
                self.note(key.start, f"key {quoted(key.value)} is given twice, first on line {line}: remove one")
                continue
            if key.value == "<<" and not key.style:
                self.note(key.start, "merge key `<<` is not used here: write the values out")
                continue
            found[key.value] = Entry(key, key.value, value)
        return Entries(tuple(found.values()), event.start_mark.index)

    def scalar(self, event: ScalarEvent) -> Scalar:
        start, end, text = event.start_mark.index, event.end_mark.index, str(event.value)
        style = event.style or ""
        value: bool | int | float | str | None = text
        if not style:
            value = _plain(text)
            if isinstance(value, float) and value - value != 0.0:
                self.note(start, f"{quoted(text)} is not a finite number: write a number")
                value = 0.0
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                self.note(start, f"{quoted(text)} does not fit in 64 bits: write a smaller number or use quotes")
                value = 0
        return Scalar(value, start, end, style)

    def refuse_properties(self, event: Event) -> None:
        anchor, tag = getattr(event, "anchor", None), getattr(event, "ctag", None)
        if anchor:
            self.note(event.start_mark.index, f"anchor `&{anchor}` is not used here: remove it")
        if tag is not None:
            start = event.start_mark.index
            written = _TAG.search(self.text.text, start)
            name = written[0] if written else str(tag)
            self.note(start, f"tag {quoted(name)} is not used here: remove it")

    def note(self, index: int, message: str) -> None:
        self.problems.append(self.text.problem(index, "", message))

    def stop(self, index: int, message: str) -> None:
        self.note(index, message)
        raise _RefusedError


def _plain(text: str) -> bool | int | float | str | None:
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if len(text) > _NUMBER_CHARS_MAX:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def _sentence(error: MarkedYAMLError) -> str:
    problem = str(error.problem or "this is not YAML").replace("'\\t'", "tab")
    if "mapping values are not allowed" in problem:
        return "a colon stands where none can be: put the text in quotes, or check the indentation"
    if "\\t" in problem or "tab" in problem:
        return "a tab cannot be used to indent: use spaces"
    if "<stream end>" in problem or "unexpected end of stream" in problem:
        return "the file ends too early: a bracket or quote is not closed"
    context = f" {error.context}" if error.context else ""
    return f"this is not YAML: {' '.join((problem + context).split())}"


def plain_value(node: Node) -> object:
    """The node as Python lists, dicts and values."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain_value(item) for item in node.items]
    return {entry.name: plain_value(entry.value) for entry in node.entries}
