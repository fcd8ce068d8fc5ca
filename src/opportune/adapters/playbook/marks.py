"""Where every document and field of a loaded playbook stands, down to a character inside an expression."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from opportune.adapters.playbook.nodes import Entry, Node, Scalar, Text
from opportune.adapters.playbook.problems import Place, PlaybookProblem
from opportune.adapters.playbook.shapes import child
from opportune.core.wording import dotted

_ESCAPE_DIGITS = {"x": 2, "u": 4, "U": 8}


class Located(msgspec.Struct, frozen=True):
    """One document as it stands in a file.

    `parts` are pieces of a policy's `when` that stand in cells of a decision table: (from, to, where in the file).
    """

    text: Text
    node: Node
    parts: tuple[tuple[int, int, int], ...] = ()


class Marks(msgspec.Struct, frozen=True):
    """`documents[collection]` are the documents in playbook order; `first[collection, id]` finds one by its id."""

    documents: Mapping[str, tuple[Located, ...]]
    first: Mapping[tuple[str, str], int]

    def where(self, collection: str, id_: str, *path: str | int, line: int = 1, column: int = 1) -> Place:
        """The place of a field; `line` and `column` (from 1) count inside its text, such as an expression.

        A list is entered by position or by the name of its item. A field left out gives the place of what
        surrounds it. KeyError when there is no such document.
        """
        return self.at(collection, self.first[collection, id_], *path, line=line, column=column)

    def at(
        self,
        collection: str,
        position: int,
        *path: str | int,
        line: int = 1,
        column: int = 1,
        on_key: bool = False,
    ) -> Place:
        """As `where`, for the document at a position of its collection; `on_key` gives the place of the key."""
        located = self.documents[collection][position]
        node, index = located.node, located.node.start
        for start, end, where in located.parts if path == ("when",) and line == 1 else ():
            if start < column <= end:
                return located.text.place(where)
        for step in path:
            found = child(node, step)
            if found is None:
                return located.text.place(index)
            node = found.value if isinstance(found, Entry) else found
            index = node.start
            if isinstance(found, Entry) and (on_key or not isinstance(node, Scalar)):
                index = found.key.start
        if isinstance(node, Scalar) and not on_key:
            return located.text.place(place_within(located.text.text, node, line, column))
        return located.text.place(index)

    def problem(
        self,
        collection: str,
        id_: str,
        path: tuple[str | int, ...],
        message: str,
        *,
        line: int = 1,
        column: int = 1,
        nearest: str | None = None,
    ) -> PlaybookProblem:
        """A problem found after loading, such as an expression that does not compile, at its place."""
        place = self.where(collection, id_, *path, line=line, column=column)
        named = dotted((collection, id_, *path))
        return PlaybookProblem(place.file, place.line, place.column, named, message, nearest)


def place_within(text: str, scalar: Scalar, line: int, column: int) -> int:
    """The index in the file of a position (from 1) inside a scalar's value, whatever the style it is written in.

    Folding and indentation change blanks only, so the nth visible character of the value is the nth of the source.
    """
    if not isinstance(scalar.value, str):
        return scalar.start
    sources = _visible(text, scalar)
    lines = scalar.value.split("\n")
    line = max(1, min(line, len(lines)))
    column = max(1, min(column, len(lines[line - 1]) + 1))
    before = "".join([*lines[: line - 1], lines[line - 1][: column - 1]])
    rest = lines[line - 1][column - 1 :]
    count = sum(1 for char in before if not char.isspace())
    if rest[:1] and not rest[0].isspace() and count < len(sources):
        return sources[count]
    blanks = len(before) - len(before.rstrip())
    if 0 < count <= len(sources):
        return sources[count - 1] + 1 + (blanks if blanks < column else 0)
    return sources[0] if sources else scalar.start


def _visible(text: str, scalar: Scalar) -> list[int]:
    """The index of each visible character of a scalar's value."""
    start, end = scalar.start, scalar.end
    if scalar.style in ("|", ">"):
        header_end = text.find("\n", start, end)
        start = end if header_end < 0 else header_end + 1
        return [index for index in range(start, end) if not text[index].isspace()]
    if scalar.style in ("'", '""'):  # '""' is a cell of a spreadsheet
        return _quoted_twice(text, start + 1, end - 1, scalar.style[0])
    if scalar.style == '"':
        return _double_quoted(text, start + 1, end - 1)
    return [index for index in range(start, end) if not text[index].isspace()]


def _quoted_twice(text: str, start: int, end: int, quote: str) -> list[int]:
    """Inside quotes that are escaped by writing them twice."""
    found: list[int] = []
    index = start
    while index < end:
        if not text[index].isspace():
            found.append(index)
        index += 2 if text[index] == quote else 1
    return found


def _double_quoted(text: str, start: int, end: int) -> list[int]:
    found: list[int] = []
    index = start
    while index < end:
        if text[index] != "\\":
            if not text[index].isspace():
                found.append(index)
            index += 1
            continue
        kind = text[index + 1]
        digits = _ESCAPE_DIGITS.get(kind, 0)
        blank = _is_blank(kind, text[index + 2 : index + 2 + digits])
        if not blank:
            found.append(index)
        index += 2 + digits
    return found


def _is_blank(kind: str, digits: str) -> bool:
    if digits:
        return chr(int(digits, 16)).isspace()
    meaning = {"n": "\n", "r": "\r", "t": "\t", "v": "\v", "f": "\f", "e": "\x1b", "a": "\a", "b": "\b", "0": "\0"}
    meaning |= {"N": "\x85", "L": "\u2028", "P": "\u2029", "_": "\xa0", "\n": " ", "\r": " "}
    return meaning.get(kind, kind).isspace()
