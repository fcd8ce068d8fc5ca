"""The command `what-if`, and the table of smallest changes that `explain --flips` shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import Refusal, console, emit, progress, say, shown, table
from opportune.doors.cli.replaying import named_release, no_decision

if TYPE_CHECKING:
    from opportune.core.decisions.flips import Flip
    from opportune.core.decisions.whatif import WhatIf
    from opportune.flows.region import Region

LINES_MAX = 20
Pairs = Annotated[list[str] | None, typer.Option("--set", metavar="FEATURE=V", help="A feature's value, or null.")]


def what_if(
    ctx: typer.Context,
    decision: Annotated[str, typer.Argument(metavar="ID", help="The decision's id.")],
    features: Pairs = None,
    consent: Annotated[
        list[str] | None, typer.Option("--consent", metavar="P/C=STATUS", help="Such as marketing/email=given.")
    ] = None,
    context: Annotated[list[str] | None, typer.Option("--context", metavar="K=V", help="What happens.")] = None,
    channel: Annotated[list[str] | None, typer.Option("--channel", help="The channels asked for instead.")] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="OFFER@CHANNEL", help="A contact not made; or `all`.")
    ] = None,
    contact: Annotated[
        list[str] | None, typer.Option("--contact", metavar="OFFER@CHANNEL[:AGO]", help="A contact more.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="At another instant.")] = None,
    account_known: Annotated[bool | None, typer.Option("--account/--no-account", help="Is one known?")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, max=10, help="Offers at once.")] = None,
    release: Annotated[str | None, typer.Option("--release", help="Under another release.")] = None,
    no_faults: Annotated[bool, typer.Option("--no-faults", help="As if no step had failed.")] = False,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Decide a recorded decision again with something changed, beside what it was; writes nothing."""
    from opportune.core.decisions.whatif import AddedContact, Supposed
    from opportune.flows.whatif import record_of, what_if_decided

    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        if region.records.decision(decision) is None:
            raise Refusal(no_decision(region, decision))
        hash_ = None if release is None else named_release(region, release)
        record = record_of(region.records, decision)
        brain = region.releases.brain_of(hash_ or record.release)
        moment = brain.moments.get(record.asked.moment)
        supposed = Supposed(
            features=_typed("--set", features, brain.views.types),
            consents=dict(_pair("--consent", one) for one in consent or ()),
            context=_typed("--context", context, {} if moment is None else moment.context),
            channels=tuple(channel) if channel else None,
            contacts=tuple(AddedContact(*_contact(one)) for one in contact or ()),
            without=tuple(without or ()), at=at, account_known=account_known, limit=limit, release=hash_,
            faults=not no_faults,
        )  # fmt: skip
        found = what_if_decided(region, decision, supposed)
    if as_json:
        emit(True, found)
        return
    _drawn(found)


def flips_shown(region: Region, decision: str, candidate: str | None, as_json: bool) -> list[Flip]:
    """What `explain --flips` adds: the smallest change for each losing candidate, or for one."""
    from opportune.core.decisions.flips import Flips
    from opportune.flows.whatif import flips_in, record_of

    record = record_of(region.records, decision)
    flips = Flips(region.releases.brain_of(record.release))
    if candidate is not None:
        return list(flips_in(flips, record, candidate))
    names = [one.id for one in flips.brain.candidates]
    found = []
    with progress("looking for the smallest changes", len(names), quiet=as_json) as advance:
        for name in names:
            found.append(flips.of(record, name))
            advance(1)
    return found


def flip_table(found: list[Flip]) -> object:
    """The smallest changes as a table."""
    rows = [(one.candidate, " ".join([one.words, *(other.words for other in one.or_else)])) for one in found]
    return table(("candidate", "what would have made it win"), rows, "smallest change")


def _drawn(found: WhatIf) -> None:
    say(f"decision {found.decision_id}, {'; '.join(found.supposed) or 'with nothing changed'}")
    sides = (found.before, found.after)
    rows = [
        (name, *(shown(getattr(side, name)) for side in sides), "different" if name in found.different else "")
        for name in ("release", "disposition", "reason", "answer", "value", "confidence", "action_probability")
    ]
    console().print(table(("", "was", "would be", ""), rows))
    say(found.after.explanation)
    if found.rules:
        lines = [(one.rule, _named(one.holds_back), _named(one.frees)) for one in found.rules[:LINES_MAX]]
        console().print(table(("rule", "newly holds back", "no longer holds back"), lines, "rules"))
    if found.candidates:
        fates = [
            (one.candidate, _fate(one.before, one.value_before), _fate(one.after, one.value_after), one.reason)
            for one in found.candidates[:LINES_MAX]
        ]
        console().print(table(("candidate", "was", "would be", "why"), fates, "candidates"))
    say("nothing was written")


def _fate(fate: tuple[str, str] | None, value: float | None) -> str:
    if fate is None:
        return "not there"
    return f"{fate[0]}: {fate[1]}" if value is None else f"{fate[0]} ({value:.2f})"


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Refusal(f"`{option} {text}` is no pair: write `{name}=value`")
    return name, value


def _typed(option: str, pairs: list[str] | None, types: Mapping[str, str]) -> dict[str, Any]:
    """`name=value` as the name's type has it; an unknown name is left to the check."""
    from opportune.core.decisions.whatif import read_value

    return {
        name: read_value(f"{option} {name}", text, types.get(name, "string"))
        for name, text in (_pair(option, one) for one in pairs or ())
    }


def _contact(text: str) -> tuple[str, str, str]:
    name, _, ago = text.partition(":")
    offer, at, channel = name.partition("@")
    if not at:
        raise Refusal(f"`--contact {text}` is no contact: write `offer@channel` or `offer@channel:2d`")
    return offer, channel, ago or "1h"
