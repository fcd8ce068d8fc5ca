"""The command line says what it can do, quickly, and the documentation says the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from opportune.doors.cli.app import build

from .called import call, shell

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs/cli.md"
HEAVY = ("litestar", "numpy", "duckdb", "sklearn", "cel_expr_python", "uvicorn", "jinja2", "ruamel", "sqlite3")


def commands() -> dict[str, object]:
    """Every command by what is typed, with its click command."""
    root = typer.main.get_command(build())
    found = {}
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found.update({f"{name} {one}": below for one, below in inner.items()} if inner else {name: command})
    return found


def test_help_lists_every_command() -> None:
    said = shell("--help")
    assert said.code == 0
    for name in commands():
        assert re.search(rf"^  {name.split()[0]} ", said.out, re.MULTILINE), name


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['opportune', '--help']\n"
        "from opportune.main import run\n"
        "try: run()\n"
        f"finally: sys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Usage: opportune" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("name", commands())
def test_every_command_has_json_and_help(name: str) -> None:
    options = {option for parameter in commands()[name].params for option in parameter.opts}  # type: ignore[attr-defined]
    assert "--json" in options
    if name not in ("init", "demo"):
        assert "--playbook" in options
    assert call(*name.split(), "--help").code == 0


@pytest.mark.parametrize("name", commands())
def test_the_documentation_names_every_command_and_option(name: str) -> None:
    sections = re.split(r"^## ", DOCS.read_text(), flags=re.MULTILINE)
    section = next((one for one in sections if one.startswith(f"`opportune {name}")), None)
    assert section is not None, f"docs/cli.md needs a section `opportune {name}`"
    for parameter in commands()[name].params:  # type: ignore[attr-defined]
        for option in parameter.opts:
            if option.startswith("--") and option not in ("--json", "--playbook", "--region", "--help"):
                assert f"`{option}" in section, option


def test_the_version() -> None:
    said = call("--version")
    assert (said.code, said.out) == (0, "opportune 0.1.0\n")


def test_an_unknown_command_says_what_was_meant() -> None:
    said = call("relese")
    assert said.code == 2
    assert "release" in said.err
