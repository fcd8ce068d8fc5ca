"""What commands print: answers on stdout, progress on stderr, refusals in one sentence."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BAD_INPUT = 2
FOUND_SOMETHING = 1


class Refusal(Exception):
    """Bad input, in one sentence that names the field and the fix: exit code 2."""


def emit(as_json: bool, data: object, text: str | Callable[[], object] = "") -> None:
    """`data` as one JSON document, or `text`: a string, or something rich can draw."""
    if as_json:
        say(json_text(data))
        return
    shown = text() if callable(text) else text
    if isinstance(shown, str):
        say(shown)
    else:
        console().print(shown)


def say(text: str) -> None:
    """One answer on stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """Something about the work, on stderr."""
    typer.echo(text, err=True)


def json_text(data: object) -> str:
    import msgspec

    return msgspec.json.encode(data).decode()


def console(*, err: bool = False) -> Console:
    """A rich console; wide enough for tables to be read by programs when nobody looks."""
    from rich.console import Console

    file = sys.stderr if err else sys.stdout
    return Console(file=file, width=None if file.isatty() else 200, highlight=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    found = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold")
    for row in rows:
        found.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    return found


@contextlib.contextmanager
def progress(what: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while the work goes on; the function given advances it. Silent when nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(err=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 signal`, `2,500 signals`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def money(amount: float, currency: str) -> str:
    return f"{amount:,.2f} {currency}"


def shown(value: Any) -> str:  # noqa: ANN401 - any value of a feature or a context
    """A value in a table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
