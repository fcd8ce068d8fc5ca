"""What is wrong with a playbook folder, and where: file, line and column of each problem."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec


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
