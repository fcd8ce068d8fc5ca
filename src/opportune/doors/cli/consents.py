"""The command `consent`: record what a customer says about being contacted, show what holds, write the receipt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, emit, note, table

if TYPE_CHECKING:
    from opportune.core.customers import ConsentStatus, Person
    from opportune.doors.cli.workbench import Place, Workbench
    from opportune.flows.consent import Word
    from opportune.flows.region import Region

STATUS: dict[str, ConsentStatus] = {"give": "given", "withdraw": "withdrawn", "refuse": "refused"}
SOURCE = "opportune/cli"
OPTION_OF = {"channels": "channel", "expires_at": "expires"}
"""Fields whose option is called otherwise."""


def consent(
    ctx: typer.Context,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="An id, or `email:…`.")],
    word: Annotated[
        Literal["give", "withdraw", "refuse", "show", "receipt"],
        typer.Argument(help="What the customer says, or what to look at."),
    ],
    purpose: Annotated[str, typer.Option("--purpose", help="What for; `*` to withdraw or refuse all.")] = "marketing",
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Where; everywhere by default.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="RFC 3339: how long a permission holds.")] = None,
    basis: Annotated[str | None, typer.Option("--basis", help="Legal basis; consent by default.")] = None,
    evidence: Annotated[str | None, typer.Option("--evidence", help="What proves it: a form, a call.")] = None,
    notice: Annotated[str | None, typer.Option("--notice", help="Version of the text the customer saw.")] = None,
    controller: Annotated[str | None, typer.Option("--controller", help="Another controller than our own.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where `receipt` is written.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Record what a customer says about being contacted (it holds from the next decision on), or look at it."""
    workbench = bench(ctx)
    place = workbench.place(playbook, in_region)
    if word == "show":
        _show(workbench, place, customer, as_json)
        return
    if word == "receipt":
        _receipt(workbench, place, customer, out)
        return
    if out is not None:
        raise Refusal("`--out` goes with `receipt`: leave it out")

    from opportune.flows.consent import Word

    said = Word(
        STATUS[word], purpose, tuple(channel or ("*",)), controller or "", basis, evidence, notice, expires
    )  # fmt: skip
    _say(workbench, place, customer, said, as_json)


def _say(workbench: Workbench, place: Place, customer: str, word: Word, as_json: bool) -> None:
    import msgspec

    from opportune.core.playbook import controller_of
    from opportune.core.signals import format_time
    from opportune.doors.cli.live import ensure_live
    from opportune.flows.consent import ConsentError, check_word, draft_of

    with workbench.writing(place) as region:
        ensure_live(workbench, place, region, note)
        person = _person(region, customer)
        release = region.releases.live()
        if word.controller == controller_of(release.playbook.app):
            word = msgspec.structs.replace(word, controller="")
        try:
            check_word(release, word)
        except ConsentError as error:
            raise Refusal(f"`--{OPTION_OF.get(error.field, error.field)}`: {error.message}") from None
        now = format_time(region.clock.now_ms())
        draft = draft_of(word, person.id, SOURCE, region.clock.new_id())
        receipt = region.ingest.run([msgspec.structs.replace(draft, time=now)])[0]
        if receipt.status not in ("accepted", "duplicate"):
            raise Refusal(receipt.problems[0].message)
        after = _person(region, person.id)
    said = {key: one.status for key, one in sorted(after.consents.items())}
    listed = ", ".join(f"{key} {status}" for key, status in said.items())
    emit(as_json, {"customer": after.id, "consents": said}, f"recorded: {after.id} now has {listed}")


def _show(workbench: Workbench, place: Place, customer: str, as_json: bool) -> None:
    from opportune.core.masking import IN_CLEAR
    from opportune.views.consents import consents_now

    with workbench.reading(place) as region:
        person = _person(region, customer)
        rows = consents_now(region.releases.live(), person, region.clock.now_ms(), IN_CLEAR)
    names = ("purpose", "channel", "controller", "status", "since", "said_of", "source", "basis", "expires_at")
    columns = [name.replace("_", " ") for name in names]
    cells = [[row.get(name) for name in names] for row in rows.values()]
    title = f"what holds for {person.id}; unknown means no"
    emit(as_json, {"customer": person.id, "consents": rows}, lambda: table(columns, cells, title))


def _receipt(workbench: Workbench, place: Place, customer: str, out: Path | None) -> None:
    """A receipt is personal whole, so reading it is written down: it needs the right to write."""
    import msgspec

    from opportune.core.masking import EVERYTHING
    from opportune.doors.cli.live import actor, ensure_live
    from opportune.flows.access import seen_by
    from opportune.views.consents import receipt

    with workbench.writing(place) as region:
        ensure_live(workbench, place, region, note)
        person = _person(region, customer)
        seen_by(
            region.records, region.vault, region.clock, region.name, actor(), "consent_receipt", person.id, EVERYTHING
        )
        document: dict[str, Any] = receipt(
            region.records, region.ledger, region.vault, region.releases.live(), region.name, person,
            region.clock.now_ms(), region.clock.new_id(), f"opportune consent {person.id} withdraw",
        )  # fmt: skip
    text = msgspec.json.format(msgspec.json.encode(document)).decode()
    if out is None:
        typer.echo(text)
        return
    try:
        out.write_text(text + "\n")
    except OSError as error:
        raise Refusal(f"`--out {out}` cannot be written: {error.strerror}") from None
    note(f"wrote {out}: it is personal, hand it only to the customer")


def _person(region: Region, customer: str) -> Person:
    from opportune.flows.identify import customer_named, lives_on

    found = customer_named(region.records, region.vault, customer.removeprefix("email:"))
    person = None if found is None else lives_on(region.records.person, found)
    if person is None:
        raise Refusal("no signal has named this customer yet: send one first, or check the id")
    return person
