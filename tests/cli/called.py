"""The command line in this process, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from opportune.doors.cli.app import build
from opportune.main import Machine

ENTRY = Path(sys.executable).parent / "opportune"


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def call(*arguments: object) -> Said:
    """A command in this process; what it would have done to the shell."""
    found = CliRunner().invoke(build(), [str(argument) for argument in arguments], obj=Machine())
    return Said(found.exit_code, found.stdout, found.stderr)


def shell(*arguments: object, cwd: Path | None = None) -> Said:
    """A command as a process of its own, through the installed entry point."""
    done = subprocess.run(
        [str(ENTRY), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def change(file: Path, old: str, new: str) -> None:
    """Replaces the first occurrence of a text that must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
