"""One decision drawn as a tree for a terminal: words, steps, what spoke for it, and why not the rest."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from opportune.core.decisions.flagged import flag_text
from opportune.core.signals import format_time
from opportune.doors.cli.output import money, shown, table
from opportune.views import DecisionView

FEATURES_SHOWN_MAX = 12
BAR_CELLS = 30


def case_of(view: DecisionView) -> Group:
    """Everything `explain` prints."""
    tree = Tree(f"[bold]{escape(view.disposition)}[/bold] ({view.reason}) · decision {view.id}")
    _asked(tree, view)
    if view.words is not None:
        words = tree.add("in words")
        words.add(f"customer: {escape(view.words.customer)}")
        words.add(f"agent: {escape(view.words.agent)}")
        words.add(f"auditor: {escape(view.words.auditor)}")
    _chosen(tree, view)
    _steps(tree, view)
    _features(tree, view)
    _flags(tree, view)
    _after(tree, view)
    return Group(tree, "", _why_not(view))


def _asked(tree: Tree, view: DecisionView) -> None:
    asked = tree.add(f"asked: {escape(view.moment_title)} ({escape(view.moment)})")
    account = "" if view.account is None else f" of account {view.account}"
    asked.add(escape(f"customer {view.customer}{account} at {format_time(view.at_ms)}"))
    asked.add(escape(f"channels {', '.join(view.channels)}; context {dict(view.context) or 'none'}"))
    live = " (live)" if view.live else ""
    asked.add(f"release {view.release}{live}, model {view.model or 'none: the owners’ priors'}")


def _chosen(tree: Tree, view: DecisionView) -> None:
    chosen = view.chosen
    if chosen is None:
        return
    verb = "offered" if chosen.shown else "would have been offered"
    branch = tree.add(escape(f"{verb}: {chosen.title} by {chosen.channel_title}, worth {chosen.value:.2f}"))
    parts = ", ".join(f"{name} {amount:+.2f}" for name, amount in chosen.parts)
    branch.add(escape(f"{parts} {chosen.currency}"))
    branch.add(
        f"accepts with {chosen.p_accept:.1%}, of which {chosen.uplift:.1%} ± {chosen.uplift_se:.1%} by the offer; "
        f"action probability {chosen.action_probability:.4f}"
    )


def _steps(tree: Tree, view: DecisionView) -> None:
    steps = tree.add(f"steps: {view.total_us / 1000:.2f} ms of {view.budget_us / 1000:g} ms")
    most = max([step.took_us or 0 for step in view.steps] + [1])
    for step in view.steps:
        if step.took_us is None and step.fault is None:
            continue
        took = step.took_us or 0
        bar = "█" * max(1, round(BAR_CELLS * took / most)) if took else ""
        fault = f" [bold]{step.fault}[/bold]" if step.fault else ""
        steps.add(f"{step.name:<10} {took:>7,} µs {bar}{fault}")


def _features(tree: Tree, view: DecisionView) -> None:
    moved = sorted((one for one in view.features if one.part), key=lambda one: -abs(one.part or 0.0))
    if moved:
        branch = tree.add("what moved the prediction")
        for one in moved[:FEATURES_SHOWN_MAX]:
            branch.add(escape(f"{one.name} = {shown(one.value)}: {one.part:+.2f}"))
    missing = [one.name for one in view.features if one.missing]
    if missing:
        tree.add(escape(f"missing: {', '.join(missing)}"))
    for skipped in view.skipped:
        tree.add(escape(f"could not be judged: {skipped.policy}, without {', '.join(skipped.names)}"))


def _flags(tree: Tree, view: DecisionView) -> None:
    if view.flags:
        branch = tree.add("quality of the data it used")
        for one in view.flags:
            branch.add(escape(flag_text(one)))


def _after(tree: Tree, view: DecisionView) -> None:
    for outcome in view.outcomes:
        amount = f" {money(outcome.amount, view.currency)}" if outcome.amount else ""
        tree.add(escape(f"then {outcome.kind}{amount} at {format_time(outcome.at_ms)}"))
    published = view.ledger.published or 0
    state = "published" if view.leaf < published else "not yet published"
    tree.add(f"ledger entry {view.leaf} of {view.ledger.entries}, {state}")


def _why_not(view: DecisionView) -> Table:
    rows = [
        (
            ("✓ " if one.won else "  ") + one.candidate,
            one.stage,
            one.rule,
            one.reason + (f" (also {', '.join(one.also)})" if one.also else ""),
            "" if one.value is None else f"{one.value:.2f}",
            "" if one.probability is None else f"{one.probability:.3f}",
        )
        for one in view.candidates
    ]
    return table(("candidate", "stage", "rule", "why", "value", "chance"), rows, "every candidate")
