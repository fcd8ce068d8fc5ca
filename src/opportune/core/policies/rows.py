"""All policies of a release over many customers at once: bitsets of candidates as rows of 64-bit words.

The same plans as one at a time (`plan`), with the parts that read the customer evaluated over columns; what comes
out per row is what `standing.resolve` says of that row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.expressions import Expression, ExpressionError, parse
from opportune.core.expressions.columns import Bools, Column, Tally, coded, either, repeated
from opportune.core.expressions.columns_evaluate import over_rows, truth_over_rows
from opportune.core.expressions.evaluate import fold_constants
from opportune.core.expressions.nodes import Node, free_names

from .compiled import validity
from .documents import HARD_CLASSES, CandidateTable, Policy, PolicyError, Variable, canonical
from .plan import Both, Choice, Fixed, Group, Groups, Guard, Index, Not, Plan, Planner, pick

Words: TypeAlias = NDArray[np.uint64]
"""Masks over the candidates, 64 to a word: (rows, words), or (words,) where it is the same for every row."""

SHORT = 16
"""Masks of up to so many words are laid out word by word."""
NUMERIC = frozenset(("int", "double", "timestamp", "duration"))


class Table(msgspec.Struct, frozen=True):
    """What policies read of many customers: `request` is variable -> column, `channel` variable -> channel id ->
    column."""

    count: int
    request: Mapping[str, Column]
    channel: Mapping[str, Mapping[str, Column]]

    def rows(self, where: slice) -> Table:
        """Some of the rows."""
        return Table(
            len(range(*where.indices(self.count))),
            {name: column.rows(where) for name, column in self.request.items()},
            {name: {id_: one.rows(where) for id_, one in by.items()} for name, by in self.channel.items()},
        )


class RowMasks(NamedTuple):
    """Where a part is true and where it has no answer (None: nowhere)."""

    true: Words
    failed: Words | None = None


class RowStanding(msgspec.Struct, frozen=True):
    """Where every candidate of every row stands; see `standing.Standing`.

    forbids: (policy, masks) in the order they are named. skipped: (policy's id, masks) of failures that do not
    forbid. review: demanded by a policy or by the obligation `review`. levers: money added, (rows, candidates), and
    where; None where no policy adjusts.
    """

    permitted: Words
    forced: Words
    forbids: tuple[tuple[Policy, Words], ...]
    skipped: tuple[tuple[str, Words], ...]
    review: Words
    unexplored: Words
    levers: tuple[NDArray[np.float64], Bools] | None = None

    def rows(self, where: slice) -> RowStanding:
        """Some of the rows, of what is said candidate by candidate."""
        return msgspec.structs.replace(
            self,
            forbids=(),
            skipped=(),
            **{name: _some(getattr(self, name), where) for name in ("permitted", "forced", "review", "unexplored")},
            levers=None if self.levers is None else (self.levers[0][where], self.levers[1][where]),
        )


def _some(words: Words, where: slice) -> Words:
    return words[where] if words.ndim == 2 else words


class RowRule(msgspec.Struct, frozen=True):
    """One policy taken apart for tables; see `generate.Rule`."""

    policy: Policy
    plan: Plan
    lever: Node | None
    lever_groups: tuple[Group, ...]
    from_ms: int | None
    to_ms: int | None


def words_of(mask: int, width: int) -> Words:
    """A mask as `width` words."""
    return np.frombuffer(mask.to_bytes(width * 8, "little"), "<u8").astype(np.uint64)


def bits_of(words: Words, count: int) -> Bools:
    """Words as one truth value per candidate."""
    raw = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(raw, axis=-1, count=count, bitorder="little").view(np.bool_)


def any_of(words: Words) -> Bools:
    """The rows with any candidate set."""
    return np.asarray(words.any(axis=-1))


class RowPolicies:
    """The policies of one release, for tables. `tally` counts what had to be worked out value by value."""

    def __init__(self, policies: Sequence[Policy], variables: Sequence[Variable], table: CandidateTable) -> None:
        self.policies = canonical(tuple(policies))
        self.count = len(table.ids)
        self.width = max(1, (self.count + 63) // 64)
        self.every = words_of((1 << self.count) - 1, self.width)
        self.tally = Tally()
        self._types = {variable.name: variable.type for variable in variables}
        self._kinds = {variable.name: variable.kind for variable in variables}
        self._planner = Planner(table, self._kinds)
        self._rules = tuple(self._ready(policy) for policy in self.policies)
        self._kept: list[Plan] = []  # what is remembered below is found by identity
        self._folded: dict[int, tuple[tuple[Node, Group, Words], ...]] = {}
        self._indexed: dict[int, tuple[NDArray[Any], Words, Words]] = {}

    def plan(self, text: str) -> Plan:
        """A further condition, such as what an offer requires. Raises ExpressionError."""
        plan = self._planner.plan(fold_constants(parse(text, self._types, expect="bool").root))
        self._kept.append(plan)
        return plan

    def masks(self, plan: Plan, table: Table) -> RowMasks:
        """Where a plan is true in every row, and where it has no answer."""
        match plan:
            case Fixed():
                failed = plan.masks.failed
                return RowMasks(self._words(plan.masks.true), self._words(failed) if failed else None)
            case Guard():
                truth = truth_over_rows(plan.node, table.request, table.count, self.tally)
                lost = either(truth.missing, truth.failed)
                return RowMasks(_spread(truth.true, self.every), None if lost is None else _spread(lost, self.every))
            case Groups():
                return self._groups(plan, table)
            case Index():
                return self._index(plan, table)
            case Not():
                part = self.masks(plan.part, table)
                return part._replace(true=_all(self.every, table.count) & ~_or(part.true, part.failed))
            case Both():
                return self._both(plan, [self.masks(part, table) for part in plan.parts])
            case Choice():
                return self._choice(*(self.masks(part, table) for part in (plan.condition, plan.then, plan.otherwise)))
        raise TypeError(f"no table evaluation for {type(plan).__name__}")

    def judge(self, table: Table, at_ms: int, within: int) -> RowStanding:
        """Where every candidate of `within` (a mask) stands in every row, at one instant."""
        asked, nothing = _all(words_of(within, self.width), table.count), np.zeros(self.width, np.uint64)
        hard = permitted = forced = review = unexplored = nothing
        held: list[tuple[Policy, Words]] = []
        skipped: list[tuple[str, Words]] = []
        levers: tuple[NDArray[np.float64], Bools] | None = None
        for rule in self._rules:
            policy, effect = rule.policy, rule.policy.effect
            if not _valid(rule, at_ms):
                continue
            masks = self.masks(rule.plan, table)
            hit = masks.true & asked
            lost = None if masks.failed is None else masks.failed & asked
            if rule.lever is not None:
                levers, failed = self._lever(rule, rule.lever, table, hit, levers)
                lost = failed if lost is None else _or(lost, failed)
            against = hit if effect == "forbid" else nothing
            if lost is not None and policy.class_ in HARD_CLASSES:
                against = against | lost
            elif lost is not None:
                skipped.append((policy.id, lost))
            if effect == "forbid" or lost is not None:
                held.append((policy, against))
                hard = hard | against if policy.class_ in HARD_CLASSES else hard
            if effect == "permit":
                permitted = permitted | hit
            elif effect == "force":
                forced = forced | hit
            if effect == "require_review" or "review" in policy.obligations:
                review = review | hit
            if not policy.explore:
                unexplored = unexplored | _or(hit, lost)
        forced = forced & ~hard
        return RowStanding(
            permitted | forced,
            forced,
            tuple(held) if not forced.any() else tuple((one, _held(one, mask, forced)) for one, mask in held),
            tuple(skipped),
            review,
            unexplored,
            levers,
        )

    # --- one policy ----------------------------------------------------------------------------------------------

    def _ready(self, policy: Policy) -> RowRule:
        condition = self._parsed(policy, "when", policy.when, "bool")
        lever = None if policy.adjust is None else self._parsed(policy, "adjust", policy.adjust, "double")
        return RowRule(
            policy,
            self._planner.plan(fold_constants(condition.root)),
            None if lever is None else lever.root,
            () if lever is None else self._planner.groups(lever.root),
            *validity(policy),
        )

    def _parsed(self, policy: Policy, field: str, text: str, expect: str) -> Expression:
        try:
            return parse(text, self._types, expect=expect)
        except ExpressionError as error:
            raise PolicyError(policy.id, field, error.message, error.line, error.column, error.nearest) from None

    def _lever(
        self, rule: RowRule, lever: Node, table: Table, hit: Words,
        levers: tuple[NDArray[np.float64], Bools] | None,
    ) -> tuple[tuple[NDArray[np.float64], Bools], Words | None]:  # fmt: skip
        """(what all policies so far add, who gets no answer of this one)."""
        shape = (table.count, self.count)
        total, where = levers or (np.zeros(shape), np.zeros(shape, np.bool_))
        failed: Words | None = None
        hits = np.broadcast_to(hit, (table.count, self.width))
        for group in rule.lever_groups:
            mask = self._words(group.mask)
            node = fold_constants(lever, group.values)
            found = over_rows(node, self._seen(node, group, table), table.count, self.tally)
            if found.type != "double":
                raise TypeError("an adjustment is a double")
            lost = either(found.missing, found.failed)
            wrong = ~np.isfinite(found.values) if lost is None else ~np.isfinite(found.values) | lost
            reached = bits_of(hits & mask, self.count)
            if wrong.any():
                failed = _or(hits & _spread(wrong, mask), failed)
                reached &= ~wrong[:, None]
            total = np.where(reached, total + found.values[:, None], total)
            where = where | reached
        return (total, where), failed

    # --- the parts of a condition --------------------------------------------------------------------------------

    def _words(self, mask: int) -> Words:
        return words_of(mask, self.width)

    def _seen(self, node: Node, group: Group, table: Table) -> dict[str, Column]:
        """The columns a group sees: the candidate's values, and those of its channel."""
        found: dict[str, Column] = {}
        for name in free_names(node):
            kind = self._kinds[name]
            if kind == "candidate":
                found[name] = repeated(self._types[name], group.values.get(name), table.count, name)
                continue
            column = table.request.get(name) if kind == "request" else None
            if kind == "channel":
                column = table.channel.get(name, {}).get(group.channel or "")
            if column is not None:
                found[name] = column
        return found

    def _groups(self, plan: Groups, table: Table) -> RowMasks:
        """Candidates whose values make the same condition of it are judged together."""
        folded = self._folded.get(id(plan))
        if folded is None:
            joined: dict[tuple[str, str | None], tuple[Node, Group, int]] = {}
            for group in plan.groups:
                node = fold_constants(plan.node, group.values)
                values = {name: repr(group.values.get(name)) for name in sorted(free_names(node))}
                key = (f"{node!r}{values}", group.channel)
                mask = joined[key][2] if key in joined else 0
                joined[key] = (node, group, mask | group.mask)
            folded = tuple((node, group, self._words(mask)) for node, group, mask in joined.values())
            self._folded[id(plan)] = folded
        true: Words = np.zeros((table.count, self.width), np.uint64)
        failed: Words | None = None
        for node, group, words in folded:
            truth = truth_over_rows(node, self._seen(node, group, table), table.count, self.tally)
            true |= _spread(truth.true, words)
            lost = either(truth.missing, truth.failed)
            if lost is not None:
                failed = _or(_spread(lost, words), failed)
        return RowMasks(true, failed)

    def _index(self, plan: Index, table: Table) -> RowMasks:
        found = over_rows(plan.request, table.request, table.count, self.tally)
        if found.table is None and found.type in NUMERIC:
            true = self._ordered(plan, found)
        else:
            codes, values = coded(found)
            true = np.stack([self._words(0 if one is None else pick(plan, one)) for one in values])[codes]
        lost = either(found.missing, found.failed)
        unknown = plan.unknown.failed
        failed = self._words(unknown) if unknown else None
        if lost is None:
            return RowMasks(true, failed)
        true &= ~_spread(lost, self.every)
        return RowMasks(true, _or(_spread(lost, self._words(plan.known | unknown)), failed))

    def _ordered(self, plan: Index, found: Column) -> Words:
        """An index of numbers: each row's place in the order gives who is before it."""
        if id(plan) not in self._indexed:
            ordered: NDArray[Any] = np.array(plan.keys, np.float64 if found.type == "double" else np.int64)
            single = [self._words(plan.table[key]) for key in plan.keys]
            rows = np.stack([np.zeros(self.width, np.uint64), *single])
            self._indexed[id(plan)] = ordered, rows, np.bitwise_or.accumulate(rows, axis=0)
        keys, rows, below = self._indexed[id(plan)]
        operator, values, known = plan.operator, found.values, self._words(plan.known)
        if operator in ("_==_", "_!=_"):
            place = np.searchsorted(keys, values)
            hit = np.zeros(len(values), np.bool_) if not len(keys) else keys[np.minimum(place, len(keys) - 1)] == values
            same = rows[np.where(hit, place + 1, 0)]
            return same if operator == "_==_" else known ^ same
        side = "left" if operator in ("_<_", "_>=_") else "right"
        first = below[np.searchsorted(keys, values, side=side)]  # type: ignore[call-overload]
        true: Words = first if operator in ("_<_", "_<=_") else known ^ first
        if found.type == "double" and (unordered := np.isnan(values)).any():
            true = np.where(unordered[:, None], np.uint64(0), true)
        return true

    def _both(self, plan: Both, parts: Sequence[RowMasks]) -> RowMasks:
        """Absorb as CEL does: where one part decides, the failures of the others do not count."""
        join = np.bitwise_or if plan.decisive else np.bitwise_and
        true = _joined(join, [part.true for part in parts])
        lost = [part.failed for part in parts if part.failed is not None]
        if not lost:
            return RowMasks(true)
        if plan.decisive:
            return RowMasks(true, _joined(join, lost) & ~true)
        return RowMasks(true, _joined(join, [_or(part.true, part.failed) for part in parts]) & ~true)

    def _choice(self, condition: RowMasks, then: RowMasks, otherwise: RowMasks) -> RowMasks:
        yes = condition.true
        no = self.every & ~_or(yes, condition.failed)
        failed = condition.failed
        for where, part in ((yes, then.failed), (no, otherwise.failed)):
            if part is not None:
                failed = _or(where & part, failed)
        return RowMasks((yes & then.true) | (no & otherwise.true), failed)


def _spread(rows: Bools, mask: Words) -> Words:
    """The mask in the rows that are set, nothing in the others."""
    # All bits of a word are set by the negative of 1: quicker than a choice per word. Word by word, as NumPy is slow
    # where the innermost of two dimensions is short.
    bits = np.negative(rows.astype(np.int64)).view(np.uint64)
    if len(mask) > SHORT:
        return bits[:, None] & mask
    found = np.empty((len(rows), len(mask)), np.uint64)
    for place, word in enumerate(mask):
        np.bitwise_and(bits, word, out=found[:, place])
    return found


def _held(policy: Policy, mask: Words, forced: Words) -> Words:
    """Whom a policy holds back: those that are forced only by law and consent."""
    return mask if policy.class_ in HARD_CLASSES else mask & ~forced


def _joined(join: np.ufunc, masks: Sequence[Words]) -> Words:
    """Masks joined, those that are the same in every row word by word at the end."""
    rows = [mask for mask in masks if mask.ndim == 2]
    same = [mask for mask in masks if mask.ndim == 1]
    if not rows or not same or len(same[0]) > SHORT:
        found: Words = reduce(join, masks)
        return found
    total, single = reduce(join, rows), reduce(join, same)
    made = np.empty_like(total)
    for place, word in enumerate(single):
        join(total[:, place], word, out=made[:, place])
    return made


def _all(mask: Words, count: int) -> Words:
    """The mask in every row, laid out: joined with other masks quicker than where each row is the same one."""
    return np.ascontiguousarray(np.broadcast_to(mask, (count, len(mask))))


def _or(one: Words, other: Words | None) -> Words:
    return one if other is None else one | other


def _valid(rule: RowRule, at_ms: int) -> bool:
    return (rule.from_ms is None or at_ms >= rule.from_ms) and (rule.to_ms is None or at_ms < rule.to_ms)
