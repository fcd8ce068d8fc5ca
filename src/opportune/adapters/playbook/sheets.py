"""Reads a decision table from a CSV file, as spreadsheets write it, into the same nodes as YAML gives.

The first lines may be settings (`hit_policy: first`, `owner: growth`); then comes the line of headings, then a line
for each row; a line `tests:` begins the tests, with headings of their own. Lines that begin with `#` are comments.
The separator is a comma, a semicolon or a tab, whichever the headings use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from opportune.adapters.playbook.nodes import (
    FILE_BYTES_MAX,
    NODE_COUNT_MAX,
    Entries,
    Entry,
    Items,
    Node,
    Scalar,
    Text,
    as_text,
)
from opportune.adapters.playbook.problems import PlaybookProblem
from opportune.core.wording import closest, quoted

SEPARATORS = ",;\t"
QUOTED_CELL = '""'
"""The style of a cell in quotes: a quote inside it is written twice."""

SETTING = re.compile(r"\s*([A-Za-z][A-Za-z_ ]{0,30}?)\s*:(?:\s+(.*)|\s*)\Z", re.DOTALL)
HIT_POLICIES = {"u": "unique", "f": "first", "a": "any", "c": "collect"}
TESTS = "tests"
Record = list[Scalar]


class _Refused(Exception):
    """Reading stops here; the problem is already noted."""


def read_sheet(file: str, content: bytes) -> tuple[Text, Entries | None, tuple[PlaybookProblem, ...]]:
    """The table in the file (None when there is none) with everything that is wrong on the way."""
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # "Unicode text" of Excel
    try:
        text = as_text(file, content.decode("utf-16" if wide else "utf-8-sig"))
    except UnicodeDecodeError as error:
        good = as_text(file, "" if wide else content[: error.start].decode("utf-8-sig", "replace"))
        message = "this is not UTF-8: save the sheet as `CSV UTF-8`"
        return good, None, (good.problem(len(good.text), "", message),)
    sheet = _Sheet(text)
    if len(content) > FILE_BYTES_MAX:
        return text, None, (text.problem(0, "", f"the file is larger than {FILE_BYTES_MAX} bytes: split it"),)
    try:
        node = sheet.table(PurePosixPath(file).stem)
    except _Refused:
        node = None
    return text, node, tuple(sheet.problems)


class _Sheet:
    """Reads one file, noting problems."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.problems: list[PlaybookProblem] = []

    def note(self, at: int, message: str, nearest: str | None = None) -> None:
        self.problems.append(self.text.problem(at, "", message, nearest))

    def stop(self, at: int, message: str) -> None:
        self.note(at, message)
        raise _Refused

    # --- from characters to cells --------------------------------------------------------------------------------

    def records(self) -> Iterator[Record]:
        """The lines that say something, as cells."""
        start, separator = self._separator()
        text, at, count = self.text.text, start, 0
        while at < len(text):
            record: Record = []
            while True:
                cell, at = self._cell(at, separator)
                record.append(cell)
                count += 1
                if count > NODE_COUNT_MAX:
                    self.stop(cell.start, f"more than {NODE_COUNT_MAX} cells in one file: split it")
                if at >= len(text) or text[at] != separator:
                    break
                at += 1
                if at == len(text):
                    record.append(Scalar("", at, at, ""))
            at += 2 if text.startswith("\r\n", at) else 1
            if any(_said(cell) for cell in record) and not _said(record[0]).startswith("#"):
                yield record

    def _separator(self) -> tuple[int, str]:
        """Where the cells begin, and what separates them: as the headings do, or as `sep=;` says (Excel)."""
        text = self.text.text
        if text[:4].lower() == "sep=" and text[4:5] in tuple(SEPARATORS):
            end = text.find("\n")
            return (len(text) if end < 0 else end + 1), text[4]
        for line in re.split(r"\r\n|\n|\r", text):
            bare = line.strip().lstrip('"')
            outside = re.sub(r'"(?:[^"]|"")*"', "", line)
            if bare.strip(SEPARATORS + ' "') and not bare.startswith("#") and not re.match(r"[A-Za-z_ ]+:", bare):
                return 0, max(SEPARATORS, key=outside.count)
        return 0, ","

    def _cell(self, at: int, separator: str) -> tuple[Scalar, int]:
        """The cell that begins here, and where it ends."""
        text = self.text.text
        first = at
        while first < len(text) and text[first] in " \t" and text[first] != separator:
            first += 1
        if text[first : first + 1] != '"':
            end = at
            while end < len(text) and text[end] != separator and text[end] not in "\r\n":
                end += 1
            return Scalar(_clean(text[first:end]), first, end, ""), end
        end = first + 1
        while True:
            end = text.find('"', end)
            if end < 0:
                self.stop(first, "the quote of this cell is not closed")
            if text[end + 1 : end + 2] != '"':
                break
            end += 2
        cell = Scalar(_clean(text[first + 1 : end].replace('""', '"')), first, end + 1, QUOTED_CELL)
        end += 1
        while end < len(text) and text[end] in " \t" and text[end] != separator:
            end += 1
        if end < len(text) and text[end] != separator and text[end] not in "\r\n":
            message = (
                "something stands behind the quote of this cell: put all of it in quotes, and each quote inside twice"
            )
            self.stop(end, message)
        return cell, end

    # --- from cells to a table -----------------------------------------------------------------------------------

    def table(self, stem: str) -> Entries | None:
        """The table with its settings, rows and tests; None when there is no line of headings."""
        entries: dict[str, Entry] = {}
        records = self.records()
        headings: Record | None = None
        rows: list[Node] = []
        for record in records:
            setting = SETTING.match(_said(record[0]))
            if setting is not None and setting[1].strip().lower() == TESTS and headings is not None:
                entries[TESTS] = Entry(
                    _key(TESTS, record[0]), TESTS, Items(tuple(self.tests(records)), record[0].start)
                )
            elif headings is None and setting is not None:
                self.setting(entries, record, setting)
            elif headings is None:
                headings = self.headings(record, entries)
            else:
                rows.append(self.row(headings, record))
        if headings is None:
            if not self.problems:
                self.note(0, "there is no table: write a line of headings, such as `plan,seats,effect,reason`")
            return None
        if "table" not in entries:
            entries["table"] = _entry("table", Scalar(stem, 0, 0, ""))
        entries["rows"] = Entry(_key("rows", headings[0]), "rows", Items(tuple(rows), headings[0].start))
        return Entries(tuple(entries.values()), headings[0].start)

    def setting(self, entries: dict[str, Entry], record: Record, found: re.Match[str]) -> None:
        """One line such as `owner: growth`, in one cell or two."""
        name = "_".join(found[1].lower().split())
        first = record[0]
        inside = Scalar(found[2].strip(), first.start, first.end, first.style) if (found[2] or "").strip() else None
        values = [*([inside] if inside else []), *(cell for cell in record[1:] if _said(cell))]
        if name in entries:
            self.note(first.start, f"`{name}` is set twice: remove one")
            return
        if not values:
            self.note(first.start, f"`{name}` has no value: write it behind the colon, or remove the line")
            return
        key = _key(name, first)
        if name == "obligations":
            items = [
                Scalar(part.strip(), v.start, v.end, v.style)
                for v in values
                for part in _split(_said(v))
                if part.strip()
            ]
            entries[name] = Entry(key, name, Items(tuple(items), values[0].start))
            return
        if len(values) > 1:
            self.note(values[1].start, f"`{name}` has more than one value: put a text with separators in quotes")
            return
        entries[name] = Entry(key, name, _typed(name, values[0]))

    def headings(self, record: Record, entries: dict[str, Entry]) -> Record:
        """The line of headings; DMN's letter in its first cell is the hit policy, and what is below are ids."""
        first = _said(record[0]).lower()
        policy = HIT_POLICIES.get(first, first if first in HIT_POLICIES.values() else None)
        found = list(record)
        if policy is not None:
            other = entries.get("hit_policy")
            if other is not None and _said(other.value) != policy:
                message = f"the hit policy is `{policy}` here and `{_said(other.value)}` above: remove one"
                self.note(record[0].start, message)
            entries["hit_policy"] = _entry("hit_policy", Scalar(policy, record[0].start, record[0].end, ""))
        if policy is not None or first == "row":
            found[0] = Scalar("id", record[0].start, record[0].end, record[0].style)
        seen: dict[str, int] = {}
        for place, cell in enumerate(found):
            name = _said(cell)
            if name and name in seen:
                message = f"heading {quoted(name)} is there twice, first in column {seen[name] + 1}: "
                self.note(cell.start, message + "put both conditions into one cell, such as `[10..20)`")
            seen.setdefault(name, place)
        return found

    def row(self, headings: Sequence[Scalar], record: Record) -> Entries:
        entries: dict[str, Entry] = {}
        for place, cell in enumerate(record):
            name = _said(headings[place]) if place < len(headings) else ""
            if name:
                entries.setdefault(name, Entry(headings[place], name, cell))
            elif _said(cell):
                self.note(
                    cell.start, f"{quoted(_said(cell))} stands in a column without a heading: add one, or remove it"
                )
        start = next((cell.start for cell in record if _said(cell)), record[0].start)
        return Entries(tuple(entries.values()), start)

    def tests(self, records: Iterator[Record]) -> Iterator[Entries]:
        """The lines below `tests:`: a name, what must apply, and a value for each variable."""
        headings = next(records, None)
        if headings is None:
            return
        names = [_said(cell) for cell in headings]
        for needed in ("name", "expect"):
            if needed not in names:
                near = closest(needed, names)
                self.note(headings[0].start, f"the tests have no column `{needed}`", near if near else None)
                return
        for record in records:
            row = self.row(headings, record)
            said = [entry for entry in row.entries if _said(entry.value)]
            given = tuple(entry for entry in said if entry.name not in ("name", "expect"))
            entries = [entry if entry.name == "name" else _expected(entry) for entry in said if entry not in given]
            entries.append(Entry(_key("given", headings[0]), "given", Entries(given, row.start)))
            yield Entries(tuple(entries), row.start)


def _expected(entry: Entry) -> Entry:
    """The rows that must apply: `2`, `a | b`, `none`."""
    cell = entry.value
    parts = [part.strip() for part in _split(_said(cell)) if part.strip()]
    if len(parts) < 2 or not isinstance(cell, Scalar):
        return entry
    items = tuple(Scalar(part, cell.start, cell.end, cell.style) for part in parts)
    return Entry(entry.key, entry.name, Items(items, cell.start))


def _typed(name: str, cell: Scalar) -> Scalar:
    """A setting as the type it has: everything in a sheet is text."""
    text = _said(cell)
    value: bool | int | str = text
    if name in ("version", "priority") and re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        value = int(text)
    elif name == "explore" and text.lower() in ("true", "false", "yes", "no"):
        value = text.lower() in ("true", "yes")
    elif name in ("effect", "class", "hit_policy"):
        value = HIT_POLICIES.get(text.lower(), text.lower())
    return Scalar(value, cell.start, cell.end, cell.style)


def _split(text: str) -> list[str]:
    return re.split(r"[|,;]", text)


def _said(node: Node) -> str:
    """The text of a cell without blanks around it."""
    return node.value.strip() if isinstance(node, Scalar) and isinstance(node.value, str) else ""


def _clean(text: str) -> str:
    """Spreadsheets put no-break spaces where people do not see them."""
    return text.replace("\u00a0", " ").strip(" \t")


def _key(name: str, cell: Scalar) -> Scalar:
    return Scalar(name, cell.start, cell.end, cell.style)


def _entry(name: str, value: Scalar) -> Entry:
    return Entry(_key(name, value), name, value)
