"""The application: every command by its name, and what becomes of an error that a command did not foresee."""

from __future__ import annotations

import os
import traceback
from typing import Any

import click
import typer
from typer.core import TyperGroup

from opportune.doors.cli import audit, deciding, doctor, governing, ingesting, learning, playbooks, serving, showing
from opportune.doors.cli.options import bench
from opportune.doors.cli.output import BAD_INPUT, Refusal, json_text, note, say

FAULT = 70
STOPPED = 130
HELP = "Agent-assisted upselling: signals in; governed, explained and recorded decisions out."


class Commands(TyperGroup):
    """The commands in the order of a working day; an error becomes a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        as_json = "--json" in [*ctx._protected_args, *ctx.args]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            note("stopped")
            raise typer.Exit(STOPPED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, SystemExit):
            raise
        except Exception as error:
            raise typer.Exit(_told(ctx, error, as_json)) from None


def _told(ctx: Any, error: Exception, as_json: bool) -> int:  # noqa: ANN401
    """Says what went wrong, in sentences; returns the exit code."""
    if os.environ.get("OPPORTUNE_TRACE"):
        traceback.print_exception(error)
    sentences = [str(error)] if isinstance(error, Refusal) else bench(ctx).sentences(error)
    code = BAD_INPUT
    if sentences is None:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        sentences = [f"this is a fault of opportune ({what}): set OPPORTUNE_TRACE=1 to see where, and report it"]
        code = FAULT
    if as_json:
        say(json_text({"error": sentences[0] if len(sentences) == 1 else sentences}))
    for sentence in sentences:
        note(sentence)
    return code


def build() -> typer.Typer:
    """The typer application; `obj` must be a Workbench."""
    app = typer.Typer(
        name="opportune", help=HELP, cls=Commands, no_args_is_help=True, add_completion=False,
        rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )  # fmt: skip
    app.callback()(_version)
    app.command("demo")(showing.demo)
    app.command("init")(playbooks.init)
    app.command("check")(playbooks.check)
    app.command("test")(playbooks.test)
    app.command("serve")(serving.serve)
    app.command("ingest")(ingesting.ingest)
    app.command("quarantine")(ingesting.quarantine)
    app.command("consent")(ingesting.consent)
    app.command("decide")(deciding.decide)
    app.command("explain")(deciding.explain)
    app.command("replay")(deciding.replay)
    app.command("train")(learning.train)
    app.command("models")(learning.models)
    app.command("release")(governing.release)
    app.command("promote")(governing.promote)
    app.command("rollback")(governing.rollback)
    app.command("releases")(governing.releases)
    app.add_typer(audit.app, name="audit")
    app.command("doctor")(doctor.doctor)
    return app


def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True),
) -> None:
    if version:
        import opportune

        say(f"opportune {opportune.__version__}")
        raise typer.Exit


