"""Commands about the playbook's folder: `init`, `check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from opportune.doors.cli.options import HERE, AsJson, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, plural, say

if TYPE_CHECKING:
    from opportune.doors.cli.workbench import Trouble


def init(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    sample: Annotated[str, typer.Option("--sample", help="The playbook to begin with.")] = "saas",
    as_json: AsJson = False,
) -> None:
    """Make a new playbook from a sample."""
    made = bench(ctx).scaffold(folder, sample)
    files = [path.relative_to(folder).as_posix() for path in made]
    data = {"folder": str(folder), "sample": sample, "files": files}
    following = f"cd {folder} && opportune check && opportune test && opportune serve"
    emit(as_json, data, f"made {folder} from the sample `{sample}`: {plural(len(made), 'file')}\nnext: {following}")


def check(
    ctx: typer.Context,
    playbook: Playbook = HERE,
    form: Annotated[
        Literal["text", "github"], typer.Option("--format", help="`github` prints workflow annotations.")
    ] = "text",
    at: Annotated[
        str | None, typer.Option("--at", metavar="DATE", help="Also find what is over by then, such as 2026-12-31.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load and compile the whole playbook; name every problem at its file, line and column."""
    if not playbook.is_dir():
        raise Refusal(f"`--playbook {playbook}` is no folder: `opportune init` makes one")
    loaded, found = bench(ctx).examine(playbook, None if at is None else _instant_ms(at))
    errors = [one for one in found if one.level == "error"]
    counts = {} if loaded is None else {
        "offers": len(loaded.offers), "channels": len(loaded.channels), "policies": len(loaded.policies),
        "features": sum(len(view.features) for view in loaded.views), "schemas": len(loaded.contracts),
        "sources": len(loaded.sources), "models": len(loaded.models), "scenarios": len(loaded.scenarios),
    }  # fmt: skip
    if as_json:
        problems = [
            {"file": one.file, "line": one.line, "column": one.column, "path": one.path, "level": one.level,
             "message": one.message}
            for one in found
        ]  # fmt: skip
        emit(True, {"ok": not errors, "counts": counts, "problems": problems})
    else:
        for one in found:
            say(_annotation(playbook, one) if form == "github" else str(one))
        if not errors:
            listed = ", ".join(_counted(name, count) for name, count in counts.items())
            say(f"ok: {listed}")
    if errors or (strict and any(one.level == "warning" for one in found)):
        raise typer.Exit(FOUND_SOMETHING)


def _instant_ms(text: str) -> int:
    from opportune.core.signals import parse_time_ms

    try:
        return parse_time_ms(text if len(text) > 10 else f"{text}T00:00:00Z")
    except (ValueError, OverflowError):
        raise Refusal(f"`--at {text[:40]}` is no date: write one such as 2026-12-31") from None


def _annotation(folder: Path, one: Trouble) -> str:
    """One line as GitHub's runners read it: a place in the repository, and the message escaped."""
    file = one.file if folder == HERE else (folder / one.file).as_posix()
    message = one.message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    kind = "notice" if one.level == "note" else one.level
    return f"::{kind} file={file},line={one.line},col={one.column}::{message}"


def _counted(nouns: str, count: int) -> str:
    """`6 policies`, `1 policy`."""
    noun = f"{nouns[:-3]}y" if nouns.endswith("ies") else nouns[:-1]
    return plural(count, noun, nouns)
