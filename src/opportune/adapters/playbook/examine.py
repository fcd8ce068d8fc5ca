"""Everything that is wrong with a playbook folder: loaded, cross-checked and compiled whole, each at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from opportune.adapters.playbook.compile_errors import place_error, place_expression_error
from opportune.adapters.playbook.folder import LoadedPlaybook, load
from opportune.adapters.playbook.idle import idle_settings
from opportune.adapters.playbook.marks import Marks
from opportune.adapters.playbook.problems import PlaybookError, PlaybookProblem
from opportune.core.builtin_contracts import with_builtins
from opportune.core.expressions import ExpressionError, parse
from opportune.core.features import CompiledViews, FeatureError, check_views, compile_views
from opportune.core.features.leaks import leaks_of
from opportune.core.playbook import Playbook
from opportune.core.policies import Finding, Policy, PolicyError, lint
from opportune.core.policies.analysis import Remark
from opportune.core.policies.compiled import checked, validity
from opportune.core.purposes import purpose_problems
from opportune.core.reach import unreachable
from opportune.core.registry import APPROVING, NEEDED
from opportune.core.releases import ReleaseError, compile_release, encode_manifest, variables_of
from opportune.core.schemas import signal_fields
from opportune.core.signals import SignalContract

_PLACED_BY_COMPILING = re.compile(r"line \d+ column \d+: ")


class Examined(msgspec.Struct, frozen=True):
    """`playbook` is None when it does not load; `problems` keep it from being released, `warnings` do not, and `notes`
    are only worth knowing."""

    playbook: Playbook | None
    problems: tuple[PlaybookProblem, ...] = ()
    warnings: tuple[PlaybookProblem, ...] = ()
    notes: tuple[PlaybookProblem, ...] = ()


def examine(folder: Path | str, at_ms: int | None = None) -> Examined:
    """Loads and compiles; never raises for what a playbook says. at_ms: what is over by then is found as well."""
    try:
        loaded = load(folder)
    except PlaybookError as error:
        return Examined(None, error.problems)
    views, problems = _views(loaded)
    if views is None:
        return Examined(loaded.playbook, problems)
    warnings = list(idle_settings(loaded.playbook, loaded.marks))
    notes: list[PlaybookProblem] = []
    problems = tuple(_rules(loaded, views, warnings))
    if not problems:
        problems = tuple(_whole(loaded, warnings, notes, at_ms))
    found = (tuple(sorted(set(each))) for each in (problems, warnings, notes))
    return Examined(loaded.playbook, *found)


def _views(loaded: LoadedPlaybook) -> tuple[CompiledViews | None, tuple[PlaybookProblem, ...]]:
    fields = _fields(with_builtins(loaded.playbook.contracts))
    errors = check_views(loaded.playbook.views, fields)
    if errors:
        return None, tuple(sorted(place_error(loaded.marks, error) for error in errors))
    return compile_views(loaded.playbook.views, fields), ()


def _rules(
    loaded: LoadedPlaybook, views: CompiledViews, warnings: list[PlaybookProblem]
) -> Iterator[PlaybookProblem]:
    """Problems of policies and of what offers require."""
    playbook, marks = loaded.playbook, loaded.marks
    try:
        variables = variables_of(playbook, views)
    except ReleaseError as error:
        yield marks.problem(error.collection, error.document, (), error.message)
        return
    types = {variable.name: variable.type for variable in variables}
    for policy in playbook.policies:
        for wrong in _policy_errors(policy, types):
            yield place_error(marks, wrong)
    for offer in playbook.offers:
        try:
            parse(offer.requires, types, expect="bool")
        except ExpressionError as found:
            yield place_expression_error(marks, "offers", offer.offer, ("requires",), found)
    untested: set[str] = set()
    for finding in lint(playbook.policies, variables):
        if _PLACED_BY_COMPILING.match(finding.message):
            continue
        problem = _found(marks, finding)
        table = loaded.tables.get(finding.policy)
        if table is not None and finding.field == "tests" and finding.level == "warning":
            if table in untested:
                continue
            untested.add(table)
            problem = msgspec.structs.replace(problem, message=f"no test says what the table `{table}` is for")
        if finding.level == "warning":
            warnings.append(problem)
        else:
            yield problem


def _policy_errors(policy: Policy, types: dict[str, str]) -> Iterator[PolicyError]:
    for field, text, expect in (("when", policy.when, "bool"), ("adjust", policy.adjust, "double")):
        try:
            if text is not None:
                checked(policy, field, text, types, expect)
        except PolicyError as error:
            yield error
    try:
        validity(policy)
    except PolicyError as error:
        yield error


def _whole(
    loaded: LoadedPlaybook, warnings: list[PlaybookProblem], notes: list[PlaybookProblem], at_ms: int | None
) -> Iterator[PlaybookProblem]:
    """Problems that show only when everything is put together, and what no decision can ever reach."""
    playbook, marks = loaded.playbook, loaded.marks
    purposes = list(_purposes(loaded))
    if purposes:
        yield from purposes
        return
    yield from _leaks(loaded)
    try:
        release = compile_release(encode_manifest(playbook))
    except (PolicyError, FeatureError) as error:
        yield place_error(marks, error)
    except ReleaseError as error:
        yield _at(marks, error.collection, error.document, error.message)
    except ValueError as error:
        yield PlaybookProblem("opportune.yaml", 1, 1, "", str(error))
    else:
        for one in unreachable(playbook, release.views, loaded.own, at_ms):
            (warnings if one.level == "warning" else notes).append(_remark(marks, one))
        warnings.extend(_unapprovable(loaded))


def _unapprovable(loaded: LoadedPlaybook) -> Iterator[PlaybookProblem]:
    """Models that nobody here could approve, however good they are."""
    people = loaded.playbook.app.people
    approvers = [one for one, roles in people.items() if APPROVING.intersection(roles)]
    for model in loaded.playbook.models:
        needed = NEEDED[model.risk]
        if len(approvers) < needed:
            message = (
                f"a model of {model.risk} risk takes {needed} of {' or '.join(sorted(APPROVING))}, and `people` of "
                f"opportune.yaml has {len(approvers)}: it can never be released"
            )
            yield _at(loaded.marks, "models", model.model, message, *(("risk",) if model.risk != "low" else ()))


def _purposes(loaded: LoadedPlaybook) -> Iterator[PlaybookProblem]:
    """Data used for what it is not there for."""
    playbook, marks = loaded.playbook, loaded.marks
    contracts = with_builtins(playbook.contracts)
    views = compile_views(playbook.views, _fields(contracts))
    types = {variable.name: variable.type for variable in variables_of(playbook, views)}
    for one in purpose_problems(playbook, views, types, contracts):
        yield marks.problem(
            one.collection, one.document, one.path, one.message, line=one.line, column=one.column
        )


def _leaks(loaded: LoadedPlaybook) -> Iterator[PlaybookProblem]:
    """Models that would learn from features which can know their label."""
    views = compile_views(loaded.playbook.views, _fields(with_builtins(loaded.playbook.contracts)))
    outside = views.read_outside
    for model in loaded.playbook.models:
        known = [name for name in model.features if name in views.features]
        for name in known:
            if name in outside:
                message = f"`{name}` is read from outside, and has no past here to learn from: leave it out"
                yield _at(loaded.marks, "models", model.model, message, "features", name)
        for leak in leaks_of(views, known, (model.converted,)):
            yield _at(loaded.marks, "models", model.model, str(leak), "features")


def _found(marks: Marks, finding: Finding) -> PlaybookProblem:
    return _at(marks, "policies", finding.policy, finding.message, finding.field)


def _remark(marks: Marks, one: Remark) -> PlaybookProblem:
    return marks.problem(
        one.collection, one.document, one.path, one.message, line=one.line, column=one.column, nearest=one.nearest
    )


def _at(marks: Marks, collection: str, id_: str, message: str, *path: str) -> PlaybookProblem:
    if (collection, id_) in marks.first:
        return marks.problem(collection, id_, path, message)
    return PlaybookProblem(f"{collection}/", 1, 1, id_, message)


def _fields(contracts: tuple[SignalContract, ...]) -> dict[str, dict[str, str]]:
    """Payload fields per signal type over all its versions; dynamic where they disagree, as in a release."""
    found: dict[str, dict[str, str]] = {}
    for contract in contracts:
        fields = found.setdefault(contract.signal, {})
        for name, type_ in signal_fields(contract).items():
            fields[name] = type_ if fields.get(name, type_) == type_ else "dyn"
    return found
