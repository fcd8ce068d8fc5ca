"""All policies of a release compiled over its candidates: judge a request, get a mask per policy."""

import math
import re
from collections.abc import Mapping, Sequence

from opportune.core.bitsets import indices
from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse
from opportune.core.expressions.evaluate import fold_constants, value_of
from opportune.core.expressions.times import parse_timestamp

from .documents import HARD_CLASSES, CandidateTable, Policy, PolicyError, Variable, canonical
from .generate import UNROLLED_MAX, Program, Rule, program
from .plan import Fixed, Group, PerChannel, Planner, Request, because, masks_of, row, words
from .standing import Standing, Verdicts, resolve

DAY_MS = 86_400_000
DATE = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)


class CompiledPolicies:
    """The policies of one release, in the order they are named: class, priority, id.

    source: the generated Python, for people. request_names, channel_names: the variables some policy reads.
    """

    def __init__(self, policies: Sequence[Policy], variables: Sequence[Variable], table: CandidateTable) -> None:
        self.policies = canonical(tuple(policies))
        self.variables = tuple(variables)
        self.table = table
        self.every = (1 << len(table.ids)) - 1
        kinds = {variable.name: variable.kind for variable in variables}
        types = {variable.name: variable.type for variable in variables}
        self._rules = tuple(ready(policy, Planner(table, kinds), types) for policy in self.policies)
        read = frozenset[str]().union(*(rule.reads for rule in self._rules))
        self.request_names = tuple(name for name in kinds if kinds[name] == "request" and name in read)
        self.channel_names = tuple(name for name in kinds if kinds[name] == "channel" and name in read)
        out = Program(kinds, types, tuple(dict.fromkeys(table.channels)), self.every)
        self._judge, self.source = program(
            self._rules, out, self.request_names, self.channel_names, self._slow, self._slow_lever
        )

    def judge(
        self, request: Request, channel: PerChannel, at_ms: int,
        within: int | None = None, weighed: int | None = None,
    ) -> Verdicts:  # fmt: skip
        """Return what every policy says about the candidates of `within` (a mask; all without one).

        request: variable -> value. channel: variable -> channel id -> value. None or absent is missing. weighed:
        whose value will be asked for (all of `within` without one): what adjust policies add is worked out for
        those, and for those a policy forces.
        """
        mask = self.every if within is None else within & self.every
        hits, failed, levers = self._judge(request, channel, at_ms, mask, mask if weighed is None else weighed)
        return Verdicts(hits, tuple(failed), tuple(levers), mask)

    def judge_exactly(
        self, request: Request, channel: PerChannel, at_ms: int,
        within: int | None = None, weighed: int | None = None,
    ) -> Verdicts:  # fmt: skip
        """Return the same as `judge`, by the exact evaluation alone: slow, the reference of the tests."""
        mask = self.every if within is None else within & self.every
        wanted = mask if weighed is None else weighed
        hits: list[int] = []
        failed: list[tuple[int, int, tuple[str, ...]]] = []
        levers: list[tuple[int, int, float]] = []
        for number, rule in enumerate(self._rules):
            early = rule.from_ms is not None and at_ms < rule.from_ms
            late = rule.to_ms is not None and at_ms >= rule.to_ms
            hits.append(0 if early or late else self._slow(number, request, channel, mask, failed))
            wanted |= hits[-1] if rule.policy.effect == "force" else 0
        for number, rule in enumerate(self._rules):
            hit = hits[number] & (-1 if rule.policy.class_ in HARD_CLASSES else wanted)
            if rule.lever is not None and hit:
                self._slow_lever(number, request, channel, hit, failed, levers)
        return Verdicts(tuple(hits), tuple(failed), tuple(levers), mask)

    def resolve(self, verdicts: Verdicts) -> Standing:
        """Return what the verdicts amount to; see `standing.resolve`."""
        return resolve(self.policies, verdicts)

    def constant(self, number: int) -> int | None:
        """Return the mask of a policy whose condition does not depend on the request, None for the others."""
        plan = self._rules[number].plan
        return plan.masks.true if isinstance(plan, Fixed) and not plan.masks.failed else None

    def _slow(
        self, number: int, request: Request, channel: PerChannel, within: int,
        failed: list[tuple[int, int, tuple[str, ...]]],
    ) -> int:  # fmt: skip
        masks = masks_of(self._rules[number].plan, request, channel, self.every)
        lost = masks.failed & within
        if lost:
            failed.append((number, lost, because(masks.causes, lost)))
        return masks.true & within

    def _slow_lever(
        self, number: int, request: Request, channel: PerChannel, hits: int,
        failed: list[tuple[int, int, tuple[str, ...]]], levers: list[tuple[int, int, float]],
    ) -> None:  # fmt: skip
        rule = self._rules[number]
        lost, causes, groups = 0, dict[str, None](), rule.lever_groups
        if rule.lever_of:
            groups = tuple(groups[number] for number in sorted({rule.lever_of[place] for place in indices(hits)}))
        for group in groups:
            mask = group.mask & hits
            if not mask or rule.lever is None:
                continue
            try:
                value = value_of(rule.lever, row(group, request, channel), {})
                if not isinstance(value, float) or not math.isfinite(value):
                    raise EvaluationError("the adjustment is not a finite number")
                levers.append((number, mask, value))
            except (Missing, EvaluationError) as error:
                lost |= mask
                causes.update(dict.fromkeys(words(error)))
        if lost:
            failed.append((number, lost, tuple(causes)))


def compile_policies(
    policies: Sequence[Policy], variables: Sequence[Variable], table: CandidateTable
) -> CompiledPolicies:
    """Return the policies as one function; raises PolicyError for the first that does not compile."""
    seen: set[str] = set()
    for policy in policies:
        if policy.id in seen:
            raise PolicyError(policy.id, "id", "another policy has the same id")
        seen.add(policy.id)
    for variable in variables:
        if variable.kind == "candidate" and variable.name not in table.columns:
            raise ValueError(f"the candidate table has no column `{variable.name}`")
    return CompiledPolicies(policies, variables, table)


def ready(policy: Policy, planner: Planner, types: Mapping[str, str]) -> Rule:
    """Return a policy with its expressions checked and taken apart."""
    if (policy.adjust is not None) != (policy.effect == "adjust"):
        missing = "write the value to add" if policy.adjust is None else "only the effect `adjust` has one"
        raise PolicyError(policy.id, "adjust", missing)
    condition = checked(policy, "when", policy.when, types, "bool")
    lever = None if policy.adjust is None else checked(policy, "adjust", policy.adjust, types, "double")
    from_ms, to_ms = validity(policy)
    lever_groups = planner.groups(lever.root) if lever else ()
    return Rule(
        policy=policy,
        plan=planner.plan(fold_constants(condition.root)),
        reads=condition.names | (lever.names if lever else frozenset()),
        lever=lever.root if lever else None,
        lever_groups=lever_groups,
        lever_of=places_to_groups(lever_groups) if len(lever_groups) > UNROLLED_MAX else (),
        from_ms=from_ms,
        to_ms=to_ms,
    )


def places_to_groups(groups: Sequence[Group]) -> tuple[int, ...]:
    """Return the number of each candidate's group."""
    found = {place: number for number, group in enumerate(groups) for place in indices(group.mask)}
    return tuple(found[place] for place in range(len(found)))


def checked(policy: Policy, field: str, text: str, types: Mapping[str, str], expect: str) -> Expression:
    try:
        return parse(text, types, expect=expect)
    except ExpressionError as error:
        raise PolicyError(policy.id, field, error.message, error.line, error.column, error.nearest) from None


def validity(policy: Policy) -> tuple[int | None, int | None]:
    """Return (first millisecond that counts, first that does not any more)."""
    first = moment(policy, "valid_from", policy.valid_from, end=False)
    last = moment(policy, "valid_to", policy.valid_to, end=True)
    if first is not None and last is not None and last <= first:
        raise PolicyError(policy.id, "valid_to", "it ends before it begins")
    return first, last


def moment(policy: Policy, field: str, text: str | None, *, end: bool) -> int | None:
    if text is None:
        return None
    try:
        if DATE.match(text):
            return int(parse_timestamp(f"{text}T00:00:00Z")) + (DAY_MS if end else 0)
        return int(parse_timestamp(text))
    except EvaluationError:
        raise PolicyError(policy.id, field, f"`{text}` is neither a date nor an RFC 3339 date-time") from None
