"""The commands `decide` and `explain`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, note, plural, progress, table
from opportune.doors.cli.replaying import no_decision

if TYPE_CHECKING:
    from opportune.core.catalog import Moment
    from opportune.core.decisions.answers import Answer
    from opportune.core.decisions.questions import Question
    from opportune.flows.region import Region

UNDER_WAY_MAX = 64
BATCH_BUDGET_MS = 10_000
"""Nobody waits for one answer of a batch."""


def decide(
    ctx: typer.Context,
    moment: Annotated[str | None, typer.Option("--moment", "-m", help="The moment; needless if one.")] = None,
    customer: Annotated[str | None, typer.Argument(metavar="CUSTOMER", help="An id, or `email:…`.")] = None,
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Open channels; all by default.")] = None,
    context: Annotated[list[str] | None, typer.Option("--context", metavar="K=V", help="What happens.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Decide for every known customer.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Write nothing.")] = False,
    batch: Annotated[Path | None, typer.Option("--batch", metavar="FILE", help="For all in a file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A batch's answers.")] = None,
    record: Annotated[bool, typer.Option("--record", help="Record a batch.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="A batch's name; the file's.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Decide what to offer a customer at a moment, now; recorded unless it is a preview. A batch is recorded only
    with `--record`."""
    from opportune.doors.cli.batch import decide_batch, moment_of
    from opportune.doors.cli.live import ensure_live

    if [everyone, customer is not None, batch is not None].count(True) != 1:
        raise Refusal("name one CUSTOMER, or say `--all` or `--batch FILE`")
    if batch is None and (out is not None or record or name is not None):
        raise Refusal("`--out`, `--record` and `--name` belong to `--batch FILE`")
    if record and preview:
        raise Refusal("`--record` and `--preview` exclude each other")
    writes = record if batch is not None else not preview
    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    with (workbench.writing if writes else workbench.reading)(place) as region:
        if writes:
            ensure_live(workbench, place, region, note)
        at = moment_of(region, moment)
        said = _context(region.releases.brain().moments.get(at), context or [])
        if batch is not None:
            decide_batch(
                region, workbench.columns(), batch, at, tuple(channel or ()), said, name, out,
                recording=record, as_json=as_json,
            )  # fmt: skip
            return
        asked = _asking(at, tuple(channel or ()), said)
        if customer is None:
            _decide_all(region, asked, preview, as_json)
            return
        question = asked(customer)
        answer = region.decide.preview(question) if preview else region.decide.run(question)
        emit(as_json, answer, _answer_text(answer))


def explain(
    ctx: typer.Context,
    decision: Annotated[str, typer.Argument(metavar="ID", help="The decision's id.")],
    flips: Annotated[bool, typer.Option("--flips", help="What would have made each loser win.")] = False,
    candidate: Annotated[
        str | None, typer.Option("--candidate", metavar="OFFER@CHANNEL", help="Just this one, with --flips.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Show one decision whole: words, steps, features, and why not each candidate."""
    from opportune.doors.cli.case import case_of
    from opportune.views import decision_view

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        view = decision_view(region.records, region.ledger, region.pulse, region.releases.brain_of, decision)
        if view is None:
            raise Refusal(no_decision(region, decision))
        if flips or candidate is not None:
            from opportune.doors.cli.supposing import flip_table, flips_shown

            found = flips_shown(region, decision, candidate, as_json)
            emit(as_json, found, lambda: flip_table(found))
            return
        emit(as_json, view, lambda: case_of(view))


def _asking(moment: str, channels: tuple[str, ...], context: dict[str, Any]) -> Any:  # noqa: ANN401
    from opportune.core.decisions.questions import Question, Who

    def asked(customer: str, budget_ms: int | None = None) -> Question:
        kind, _, value = customer.partition(":")
        who = Who(email=value) if kind == "email" else Who(id=customer)
        return Question(who, moment, channels, context, budget_ms=budget_ms)

    return asked


def _context(moment: Moment | None, pairs: list[str]) -> dict[str, Any]:
    """`k=v` as the moment declares its type; what the moment does not know is left to the check of the question."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise Refusal(f"`--context {pair}` is no pair: write `{name}=value`")
        type_ = "string" if moment is None else moment.context.get(name, "string")
        try:
            found[name] = _READ[type_](text)
        except ValueError:
            raise Refusal(f"`--context {pair}`: `{text}` is no {type_}") from None
    return found


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


_READ: dict[str, Callable[[str], Any]] = {"int": int, "double": float, "bool": _bool, "string": str}


def _decide_all(region: Region, asked: Any, preview: bool, as_json: bool) -> None:  # noqa: ANN401
    customers = sorted({one.signal.customer for one in region.records.signals() if one.signal.customer is not None})
    with progress("deciding", len(customers), quiet=as_json) as advance:
        questions = [asked(customer, BATCH_BUDGET_MS) for customer in customers]
        mix: Counter[tuple[str, str]] = Counter()
        offers: Counter[str] = Counter()
        for answer in _previews(region, questions, advance) if preview else _answers(region, questions, advance):
            mix[answer.disposition, answer.reason] += 1
            if answer.offer is not None:
                offers[answer.offer.id] += 1
    rows = [(disposition, reason, count) for (disposition, reason), count in mix.most_common()]
    data = {
        "customers": len(customers),
        "recorded": not preview,
        "mix": [{"disposition": one, "reason": reason, "count": count} for one, reason, count in rows],
        "offers": dict(offers.most_common()),
    }
    title = f"{plural(len(customers), 'customer')}, {'nothing recorded' if preview else 'all recorded'}"
    emit(as_json, data, lambda: table(("disposition", "reason", "customers"), rows, title))


def _previews(region: Region, questions: list[Question], advance: Any) -> list[Answer]:  # noqa: ANN401
    found = []
    for question in questions:
        found.append(region.decide.preview(question))
        advance(1)
    return found


def _answers(region: Region, questions: list[Question], advance: Any) -> list[Answer]:  # noqa: ANN401
    """Decides with several under way, so that they share the disk's syncs."""
    places = Semaphore(UNDER_WAY_MAX)
    outcomes: list[Answer | BaseException] = []

    def done(outcome: Answer | BaseException) -> None:
        outcomes.append(outcome)
        places.release()

    for question in questions:
        places.acquire()
        region.decide.submit(question, done)
        advance(1)
    for _ in range(UNDER_WAY_MAX):
        places.acquire()
    found: list[Answer] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        found.append(outcome)
    return region.decide.granted(found)


def _answer_text(answer: Answer) -> str:
    head = f"{answer.disposition} ({answer.reason})"
    if answer.offer is not None:
        offer = answer.offer
        head += f": {offer.title}, {offer.price:g} {offer.currency} per {offer.per}, by {answer.channel}"
    lines = [head, answer.explanation["agent"]]
    lines += [f"  {rule.id}: {rule.reason} (held back {rule.held_back})" for rule in answer.policies]
    took = f"{sum(answer.timings_us.values()) / 1000:.1f} ms of {answer.budget_ms} ms · {answer.release}"
    if answer.recorded:
        lines.append(f"decision {answer.decision_id} · {took}")
        lines.append(f"next: opportune explain {answer.decision_id}")
    else:
        lines.append(f"preview, nothing was written · {took}")
    return "\n".join(lines)
