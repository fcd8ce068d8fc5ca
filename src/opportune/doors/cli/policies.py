"""The commands `policies`: list them, explain one, run their tests, and what a changed one would change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Last, Playbook, bench
from opportune.doors.cli.output import (
    FOUND_SOMETHING,
    Refusal,
    console,
    emit,
    plural,
    progress,
    say,
    shown,
    table,
)
from opportune.doors.cli.replaying import difference_tables, no_decision

if TYPE_CHECKING:
    from opportune.core import playbook as documents
    from opportune.core.decisions.brain import Brain
    from opportune.core.decisions.records import DecisionRecord
    from opportune.core.policies import Policy
    from opportune.core.releases import Release
    from opportune.core.rule_cards import RuleCard
    from opportune.flows.region import Region

CANDIDATES_SHOWN_MAX = 24


def listed(ctx: typer.Context, playbook: Playbook = HERE, as_json: AsJson = False) -> None:
    """List the policies of a playbook in the order they are named, and where each stands."""
    from opportune.core.policies.documents import canonical

    where = bench(ctx).whereabouts(playbook)
    policies = canonical(bench(ctx).load(playbook).policies)
    data = [
        {
            "id": one.id, "effect": one.effect, "class": one.class_, "owner": one.owner, "version": one.version,
            "when": one.when, "reason": one.reason, "tests": len(one.tests), "where": where.get(one.id, ""),
        }
        for one in policies
    ]  # fmt: skip
    columns = ("policy", "class", "effect", "owner", "tests", "where")
    rows = [(one["id"], one["class"], one["effect"], one["owner"], one["tests"], one["where"]) for one in data]
    emit(as_json, {"policies": data}, lambda: table(columns, rows))


def explain(
    ctx: typer.Context,
    policy: Annotated[str, typer.Argument(metavar="ID", help="The policy; a table's row is `table.row`.")],
    decision: Annotated[
        str | None, typer.Option("--decision", metavar="DECISION", help="What it said in a recorded decision.")
    ] = None,
    source: Annotated[bool, typer.Option("--source", help="Also the Python it is compiled to.")] = False,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Say what a policy does, in words: when, what it reads, what it can hit, what it overlaps with."""
    if decision is not None:
        workbench = bench(ctx)
        with workbench.reading(workbench.place(playbook, in_region)) as region:
            _in_decision(region, policy, decision, as_json)
        return
    from opportune.core.rule_cards import rule_card, source_of

    release = _compiled(bench(ctx).load(playbook))
    _known(release.playbook, policy)
    card = rule_card(release.playbook, release.views, policy)
    code = source_of(release.playbook, release.views, policy) if source else ""
    where = bench(ctx).whereabouts(playbook).get(policy, "")
    emit(as_json, _card_data(card, where, code), "\n".join((*_card_lines(card, where), *([code] if code else []))))


def run(
    ctx: typer.Context,
    policy: Annotated[str | None, typer.Argument(metavar="[ID]", help="One policy, or a table.")] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Also which parts of conditions no test makes true, or false.")
    ] = False,
    playbook: Playbook = HERE,
    as_json: AsJson = False,
) -> None:
    """Run the tests that policies carry."""
    from opportune.core.policies import run_policy_tests
    from opportune.core.releases import variables_of
    from opportune.core.rule_cards import untested_parts

    release = _compiled(bench(ctx).load(playbook))
    chosen = [one for one in release.playbook.policies if policy in (None, one.id, one.id.rpartition(".")[0])]
    if policy is not None and not chosen:
        _known(release.playbook, policy)
    variables = variables_of(release.playbook, release.views)
    results = run_policy_tests(chosen, variables)
    failures = [one for one in results if not one.passed]
    gaps = untested_parts(chosen, variables) if coverage else ()
    without = [one.id for one in chosen if not one.tests]
    lines = [f"FAILED {one.policy}: {one.test}: expected {one.expected}, got {one.got}" for one in failures]
    if coverage:
        lines += [f"warning: {name}: it has no test" for name in without]
        lines += [
            f"warning: {one.policy}: no test makes `{one.part}` {one.never}"
            for one in gaps
            if one.policy not in without
        ]
    lines.append(
        f"{len(results) - len(failures)} of {len(results)} passed ({plural(len(chosen), 'policy', 'policies')})"
    )
    data = {
        "ok": not failures, "passed": len(results) - len(failures), "of": len(results),
        "failures": [{"policy": f.policy, "test": f.test, "expected": f.expected, "got": f.got} for f in failures],
    }  # fmt: skip
    if coverage:
        data |= {
            "untested": [{"policy": one.policy, "part": one.part, "never": one.never} for one in gaps],
            "without_tests": without,
        }
    emit(as_json, data, "\n".join(lines))
    if failures:
        raise typer.Exit(FOUND_SOMETHING)


def what_if(
    ctx: typer.Context,
    changed: Annotated[
        Path | None, typer.Option("--with", metavar="PATH", help="A changed playbook folder, or a file of policies.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="ID", help="A policy left out; may be repeated.")
    ] = None,
    last: Last = 1000,
    by: Annotated[
        str | None, typer.Option("--by", metavar="FEATURE", help="Split differences by a feature, or `moment`.")
    ] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Say which recorded decisions would have been others under changed policies; nothing is written."""
    if changed is None and not without:
        raise Refusal("say what is changed: `--with PATH` or `--without ID`")
    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        live = region.releases.live()
        book = live.playbook
        if changed is not None and not changed.exists():
            raise Refusal(f"`--with {changed}`: there is no such file or folder")
        if changed is not None:
            book = workbench.load(changed) if changed.is_dir() else workbench.with_policies(book, changed)
        for name in without or ():
            _known(book, name)
            book = _left_out(book, name)
        _compare(region, live, book, last, by, as_json)


def _left_out(book: documents.Playbook, name: str) -> documents.Playbook:
    import msgspec

    return msgspec.structs.replace(book, policies=tuple(one for one in book.policies if one.id != name))


def _compare(region: Region, live: Release, book: documents.Playbook, last: int, by: str | None, as_json: bool) -> None:
    import msgspec

    from opportune.core.releases import compile_release, encode_manifest
    from opportune.flows.replay import compare_window

    other = compile_release(encode_manifest(book, live.cards), region.name).brain
    total = min(last, region.records.counts().get("decisions", last))
    with progress("deciding again", total, quiet=as_json) as advance:
        found = compare_window(region.records, region.releases.brain_of, last, other, by, advance)
    if as_json:
        emit(True, {"release": live.hash, "policies_changed": _changes(live, book), **msgspec.to_builtins(found)})
    else:
        changes = _changes(live, book)
        say(f"policies changed against the live release {live.hash}: {', '.join(changes) or 'none'}")
        for part in difference_tables(found, other.app.currency):
            say(part) if isinstance(part, str) else console().print(part)
    if found.changed or found.impossible:
        raise typer.Exit(FOUND_SOMETHING)


def _changes(live: Release, book: documents.Playbook) -> list[str]:
    """The ids of policies that are new, gone or not the same."""
    before, after = ({one.id: one for one in each.policies} for each in (live.playbook, book))
    return sorted(id_ for id_ in before.keys() | after.keys() if before.get(id_) != after.get(id_))


def _compiled(book: documents.Playbook) -> Release:
    from opportune.core.releases import compile_release, encode_manifest

    return compile_release(encode_manifest(book))


def _known(book: documents.Playbook, id_: str) -> Policy:
    """The policy of an id; Refusal with the nearest one."""
    from opportune.core.wording import closest, listed, quoted

    by_id = {one.id: one for one in book.policies}
    if id_ in by_id:
        return by_id[id_]
    nearest = closest(id_, by_id)
    hint = f"did you mean `{nearest}`?" if nearest else f"there are {listed(by_id)}"
    raise Refusal(f"no policy is called {quoted(id_)}: {hint}")


# --- one policy on a card --------------------------------------------------------------------------------------------


def _card_lines(card: RuleCard, where: str) -> Iterator[str]:
    policy = card.policy
    yield f"{policy.id}: {policy.effect}, class {policy.class_}, owner {policy.owner}, version {policy.version}"
    if where:
        yield f"in {where}"
    yield f"It {card.does}."
    if policy.adjust is not None:
        yield f"It adds: {policy.adjust}"
    if policy.obligations:
        yield f"It demands: {', '.join(policy.obligations)}"
    if policy.valid_from or policy.valid_to:
        yield f"Valid from {policy.valid_from or 'ever'} to {policy.valid_to or 'ever'}"
    if not policy.explore:
        yield "What it hits is never tried while another is better."
    yield f'It says: "{policy.reason}"'
    if not card.when_all:
        yield "When: always"
    else:
        yield "When all of these hold:" if len(card.when_all) > 1 else "When this holds:"
        yield from (f"  - {part}" for part in card.when_all)
        yield card.without_an_answer
    if card.reads:
        yield "It reads:"
        yield from (f"  - {one.name} ({one.type}): {one.description}" for one in card.reads)
    yield f"It can hit: {_few(card.candidates)}"
    yield f"It can be true together with: {_few(_overlaps(card))}"
    passed = sum(one.passed for one in card.tests)
    yield f"Tests: {passed} of {len(card.tests)} passed" if card.tests else "Tests: none"


def _overlaps(card: RuleCard) -> tuple[str, ...] | None:
    return None if card.overlaps is None else tuple(f"{one.policy} ({one.effect})" for one in card.overlaps)


def _few(names: tuple[str, ...] | None) -> str:
    if names is None:
        return "too many conditions to tell"
    rest = len(names) - CANDIDATES_SHOWN_MAX
    text = ", ".join(names[:CANDIDATES_SHOWN_MAX]) or "nothing"
    return f"{text} and {rest} more" if rest > 0 else text


def _card_data(card: RuleCard, where: str, code: str) -> dict[str, Any]:
    import msgspec

    data: dict[str, Any] = msgspec.to_builtins(card)
    return {**data, "where": where, **({"source": code} if code else {})}


# --- one policy in one decision --------------------------------------------------------------------------------------


def _in_decision(region: Region, policy: str, decision: str, as_json: bool) -> None:
    from opportune.core.decisions.records import decode_record

    stored = region.records.decision(decision)
    if stored is None:
        raise Refusal(no_decision(region, decision))
    record = decode_record(stored.record)
    brain = region.releases.brain_of(record.release)
    _known(region.releases.get(record.release).playbook, policy)
    found = _said(brain, record, policy)
    lines = [f"{policy} in decision {record.id} (release {record.release}, moment {record.asked.moment})"]
    lines += [f"  {name} = {shown(value)}" for name, value in found["read"].items()]
    lines += [f"{one['candidate']}: {one['said']}" for one in found["candidates"]]
    emit(as_json, {"policy": policy, "decision": record.id, "release": record.release, **found}, "\n".join(lines))


def _said(brain: Brain, record: DecisionRecord, id_: str) -> dict[str, Any]:
    """What a policy read in a decision, and what it said about each candidate that was asked for."""
    from opportune.core.bitsets import indices
    from opportune.core.decisions.shortlist import request_values

    request = request_values(brain, record.asked, record.seen)
    within = brain.mask_of(record.asked.channels)
    channel = {"consent.status": record.seen.consents}
    verdicts = brain.policies.judge_exactly(request, channel, record.seen.at_ms, within)
    number = next(place for place, one in enumerate(brain.policies.policies) if one.id == id_)
    lost = {place: causes for failed, mask, causes in verdicts.failed if failed == number for place in indices(mask)}
    names = brain.rule_names.get(id_, ())
    candidates = []
    for place in indices(within):
        said = "it is true" if verdicts.hits[number] >> place & 1 else "it is false"
        if place in lost:
            said = f"no answer, for want of {', '.join(lost[place])}"
        candidates.append({"candidate": brain.candidates[place].id, "said": said})
    kinds = {one.name: one.kind for one in brain.policies.variables}
    read = {name: request.get(name) for name in names if kinds.get(name) == "request"}
    return {"read": read, "candidates": candidates}
