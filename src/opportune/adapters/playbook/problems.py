"""What is wrong with a playbook folder, and where: file, line and column of each problem."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import msgspec

QUOTED_CHARS_MAX = 60


class Place(msgspec.Struct, frozen=True, order=True):
    """A position in a playbook: `file` relative to the folder, `line` and `column` counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class PlaybookProblem(msgspec.Struct, frozen=True, order=True):
    """One thing to fix; `path` names the field (`offers[2].price.amount`), `nearest` the closest known name."""

    file: str
    line: int
    column: int
    path: str
    message: str
    nearest: str | None = None

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)

    def __str__(self) -> str:
        hint = f"; did you mean `{self.nearest}`?" if self.nearest else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{hint}"


class PlaybookError(ValueError):
    """A playbook that cannot be used: every problem found in `folder`, sorted by file and line."""

    def __init__(self, problems: Iterable[PlaybookProblem], folder: Path | None = None) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.place, problem.message)))
        self.folder = folder
        super().__init__("\n".join(str(problem) for problem in self.problems))


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be, or None."""
    names = sorted(set(known) - {name})
    folded = {known_name.lower(): known_name for known_name in reversed(names)}
    if name.lower() in folded:
        return folded[name.lower()]
    found = difflib.get_close_matches(name[:200], names, n=1, cutoff=0.6)
    return found[0] if found else None


def quoted(value: object) -> str:
    """A user's value in backticks, on one line and cut to QUOTED_CHARS_MAX characters."""
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    text = "".join(char if char.isprintable() else " " for char in text[: QUOTED_CHARS_MAX + 1])
    return f"`{text}`" if len(text) <= QUOTED_CHARS_MAX else f"`{text[: QUOTED_CHARS_MAX - 1]}…`"


def listed(names: Iterable[str], names_max: int = 12) -> str:
    """Names in backticks with commas; the rest is counted."""
    all_names = list(names)
    text = ", ".join(f"`{name}`" for name in all_names[:names_max])
    return text if len(all_names) <= names_max else f"{text} and {len(all_names) - names_max} more"


def dotted(parts: Iterable[str | int]) -> str:
    """A path as people write it: `price.amount`, `limits[0].per`; a key with a dot of its own is in quotes."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "[" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}" if text else part
    return text
