"""Looks at policies before they are released: their inline tests, and what a reviewer would point at."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from opportune.core.expressions import EvaluationError, Missing
from opportune.core.expressions.times import parse_duration, parse_timestamp

from .compiled import CompiledPolicies, checked
from .documents import Policy, PolicyError, PolicyTest, Variable
from .explain import FORMS, PLACEHOLDER


class TestResult(msgspec.Struct, frozen=True):
    """One inline test: what was expected of `when`, and what came (`true`, `false`, `missing`, or the failure)."""

    __test__ = False

    policy: str
    test: str
    passed: bool
    expected: str
    got: str


class Finding(msgspec.Struct, frozen=True):
    """Something a reviewer would point at; an error stops a release, a warning does not."""

    policy: str
    field: str
    message: str
    level: Literal["error", "warning"] = "error"


def run_policy_tests(policies: Sequence[Policy], variables: Sequence[Variable]) -> tuple[TestResult, ...]:
    """Return the result of every inline test; raises PolicyError for an expression that does not compile."""
    types = {variable.name: variable.type for variable in variables}
    return tuple(run(policy, test, types) for policy in policies for test in policy.tests)


def run(policy: Policy, test: PolicyTest, types: Mapping[str, str]) -> TestResult:
    condition = checked(policy, "when", policy.when, types, "bool")
    expected = test.expect if isinstance(test.expect, str) else str(test.expect).lower()
    unknown = [name for name in test.given if name not in types]
    if unknown:
        return TestResult(policy.id, test.name, False, expected, f"`{unknown[0]}` in `given` is no known variable")
    try:
        given = {name: given_value(types[name], value) for name, value in test.given.items()}
        got = str(condition.evaluate(given)).lower()
    except Missing as error:
        return TestResult(policy.id, test.name, expected == "missing", expected, missing(error, expected))
    except EvaluationError as error:
        got = str(error)
    return TestResult(policy.id, test.name, got == expected, expected, got)


def missing(error: Missing, expected: str) -> str:
    return "missing" if expected == "missing" else f"missing: {error}"


def given_value(type_: str, value: object) -> object:
    """Return a value of a test as the engine has it: times and durations may be written as text."""
    if isinstance(value, str) and type_ == "timestamp":
        return int(parse_timestamp(value if len(value) > 10 else f"{value}T00:00:00Z"))
    return int(parse_duration(value)) if isinstance(value, str) and type_ == "duration" else value


def lint(
    policies: Sequence[Policy], variables: Sequence[Variable], compiled: CompiledPolicies | None = None
) -> tuple[Finding, ...]:
    """Return what is wrong or suspicious. compiled: the policies over a release's candidates."""
    names = {variable.name: variable.type for variable in variables}
    found = [finding for policy in policies for finding in lint_one(policy, names)]
    ids = [policy.id for policy in policies]
    found += [
        Finding(id_, "id", "another policy has the same id") for id_ in dict.fromkeys(ids) if ids.count(id_) > 1
    ]
    if not any(policy.effect in ("permit", "force") for policy in policies):
        found.append(Finding("", "effect", "no policy permits anything, so nothing can ever be offered"))
    return (*found, *(never(compiled) if compiled else ()))


def lint_one(policy: Policy, types: Mapping[str, str]) -> list[Finding]:
    found = []
    for placeholder in PLACEHOLDER.finditer(policy.reason):
        name, form = placeholder[1], placeholder[2]
        if name not in types:
            near = difflib.get_close_matches(name, types, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            found.append(Finding(policy.id, "reason", f"unknown name `{name}` in the reason{hint}"))
        if form and form not in FORMS:
            found.append(Finding(policy.id, "reason", f"unknown format `{form}`; use one of {', '.join(FORMS)}"))
    leftover = PLACEHOLDER.sub("", policy.reason)
    if "{" in leftover or "}" in leftover:
        found.append(Finding(policy.id, "reason", "a brace in the reason belongs to no `{name}`"))
    if not policy.reason.strip():
        found.append(Finding(policy.id, "reason", "a policy needs a reason in a plain sentence"))
    if policy.effect == "adjust" and policy.adjust is None:
        found.append(Finding(policy.id, "adjust", "write the value to add"))
    if policy.effect != "adjust" and policy.adjust is not None:
        found.append(Finding(policy.id, "adjust", "only the effect `adjust` has one"))
    for field, text, expect in (("when", policy.when, "bool"), ("adjust", policy.adjust, "double")):
        try:
            if text is not None:
                checked(policy, field, text, types, expect)
        except PolicyError as error:
            hint = f"; did you mean `{error.nearest}`?" if error.nearest else ""
            found.append(
                Finding(policy.id, field, f"line {error.line} column {error.column}: {error.message}{hint}")
            )
    names = [test.name for test in policy.tests]
    found += [Finding(policy.id, "tests", f"two tests are named `{n}`") for n in set(names) if names.count(n) > 1]
    if not policy.tests:
        found.append(Finding(policy.id, "tests", "no test says what this policy is for", "warning"))
    return found


def never(compiled: CompiledPolicies) -> tuple[Finding, ...]:
    """Return the policies that can hit no candidate of the release, whatever is asked."""
    return tuple(
        Finding(policy.id, "when", "this can never be true for any candidate of the release", "warning")
        for number, policy in enumerate(compiled.policies)
        if compiled.every and compiled.constant(number) == 0
    )
