"""The application: every command by its name, and what becomes of an error that a command did not foresee."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import typer

from opportune.doors.cli import (
    adaptive,
    apprentice,
    audit,
    backfilling,
    consents,
    deciding,
    disagreeing,
    doctor,
    drifting,
    evaluating,
    feature_views,
    feedback,
    governing,
    identity,
    ingesting,
    keys,
    learning,
    limits,
    offline_features,
    playbooks,
    policies,
    privacy,
    promises,
    quarantine,
    registry,
    replaying,
    serving,
    showing,
    supposing,
)
from opportune.doors.cli.options import bench
from opportune.doors.cli.output import BAD_INPUT, Refusal, json_text, note, say

FAULT = 70
STOPPED = 130
Command = Callable[..., None]
HELP = "Agent-assisted upselling: signals in; governed, explained and recorded decisions out."

COMMANDS: dict[str, Command] = {
    "demo": showing.demo,
    "init": playbooks.init,
    "check": playbooks.check,
    "test": promises.run_tests,
    "serve": serving.serve,
    "ingest": ingesting.ingest,
    "consent": consents.consent,
    "decide": deciding.decide,
    "explain": deciding.explain,
    "what-if": supposing.what_if,
    "replay": replaying.replay,
    "apprentice": apprentice.apprentice,
    "train": learning.train,
    "approve": registry.approve,
    "drift": drifting.drift,
    "release": governing.release,
    "evaluate": evaluating.evaluate,
    "promote": governing.promote,
    "rollback": governing.rollback,
    "releases": governing.releases,
    "erase": privacy.erase,
    "export": privacy.export,
    "retain": privacy.retain,
    "limits": limits.limits,
    "adaptive": adaptive.adaptive,
    "doctor": doctor.doctor,
}
"""In the order of a working day."""


class Group(NamedTuple):
    """Commands under one name; the one called "" is run when none is named."""

    help: str
    commands: dict[str, Command]


GROUPS: dict[str, Group] = {
    "audit": Group(
        "Verify the ledger, and prove what is in it.",
        {"verify": audit.verify, "prove": audit.prove, "accesses": privacy.accesses},
    ),
    "keys": Group("API keys: add, list, revoke.", {"add": keys.add, "list": keys.listed, "revoke": keys.revoke}),
    "quarantine": Group(
        "Signals that were kept out: list, show, fix, resubmit, discard.",
        {
            "": quarantine.listed,
            "show": quarantine.show,
            "fix": quarantine.fix,
            "resubmit": quarantine.resubmit_many,
            "discard": quarantine.discard_one,
        },
    ),
    "identity": Group(
        "Who is who: propose, accept or refuse, merge, undo.",
        {
            "propose": identity.propose,
            "proposals": identity.proposals,
            "accept": identity.accept,
            "refuse": identity.refuse,
            "merge": identity.merge,
            "merges": identity.merges,
            "unmerge": identity.unmerge,
        },
    ),
    "policies": Group(
        "Policies: list, explain, test, what-if.",
        {
            "list": policies.listed,
            "explain": policies.explain,
            "test": policies.run,
            "what-if": policies.what_if,
        },
    ),
    "cases": Group(
        "What follows from drift: list, approve, refuse, retrain.",
        {
            "": drifting.cases,
            "approve": drifting.approve,
            "refuse": drifting.refuse,
            "retrain": drifting.retrain,
        },
    ),
    "models": Group(
        "Models: list, show, history, disagreement, import, log, refuse, retire.",
        {
            "": registry.listed,
            "show": registry.show,
            "history": registry.history,
            "disagreement": disagreeing.disagreement,
            "import": registry.import_,
            "log": registry.log,
            "refuse": registry.refuse,
            "retire": registry.retire,
        },
    ),
    "feedback": Group(
        "What people say: reasons, people, proposals; accept or refuse a proposal.",
        {
            "reasons": feedback.reasons,
            "people": feedback.people,
            "proposals": feedback.proposals,
            "accept": feedback.accept,
            "refuse": feedback.refuse,
        },
    ),
    "features": Group(
        "Features: list, show, who uses them, backfill, parity, dataset.",
        {
            "list": feature_views.listed,
            "show": feature_views.show,
            "used-by": feature_views.used_by,
            "lineage": feature_views.lineage,
            "backfill": backfilling.backfill,
            "prune": backfilling.prune,
            "parity": offline_features.parity,
            "dataset": offline_features.dataset,
        },
    ),
}


def told(command: Command) -> Command:
    """The same command; an error that it did not foresee becomes a sentence and an exit code."""

    @functools.wraps(command)
    def run(ctx: typer.Context, **given: Any) -> None:  # noqa: ANN401
        try:
            command(ctx, **given)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            note("stopped")
            raise typer.Exit(STOPPED) from None
        except Exception as error:  # noqa: BLE001 - the last place that can turn it into a sentence
            raise typer.Exit(_told(ctx, error, bool(given.get("as_json")))) from None

    return run


def _told(ctx: typer.Context, error: Exception, as_json: bool) -> int:
    """Says what went wrong, in sentences; returns the exit code."""
    if os.environ.get("OPPORTUNE_TRACE"):
        traceback.print_exception(error)
    sentences = [str(error)] if isinstance(error, Refusal) else bench(ctx).sentences(error)
    code = BAD_INPUT
    if sentences is None:
        # Its type alone: the text of an error that nobody expected may hold a personal value.
        what = type(error).__name__
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
        name="opportune", help=HELP, no_args_is_help=True, add_completion=False,
        rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )  # fmt: skip
    app.callback(help=HELP)(_options)
    for name, command in COMMANDS.items():
        app.command(name)(told(command))
    for name, group in GROUPS.items():
        alone = group.commands.get("")
        inner = typer.Typer(help=group.help, no_args_is_help=alone is None)
        if alone is not None:
            inner.callback(invoke_without_command=True)(told(alone))
        for inner_name, command in group.commands.items():
            if inner_name:
                inner.command(inner_name)(told(command))
        app.add_typer(inner, name=name)
    return app


def _version(asked: bool) -> None:
    if asked:
        import opportune

        say(f"opportune {opportune.__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and stop.", callback=_version, is_eager=True
    ),
) -> None:
    """Options of the program itself."""
