"""Proposals: where people override an offer for the same reason again and again, the rule that would spare them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from math import exp, lgamma

import msgspec

from opportune.core.feedback.people import Said
from opportune.core.feedback.words import FeedbackReason, Suggests
from opportune.core.policies import Policy

ROWS_MIN = 8
RATE_MIN = 0.5
"""Less than half overridden is no rule: people still let most of it pass."""
ERRORS_MAX = 0.01
"""The chance that anything at all is proposed where there is no pattern, over all that is tried (Holm 1979)."""
LEVELS_MAX = 8


class RuleProposal(msgspec.Struct, frozen=True):
    """A rule that people's answers speak for. `hits` of `rows` answers about the offer, where `when` holds, overrode
    it for `reason`; elsewhere `others_hits` of `others`. `p` is the chance of so many without a pattern (Fisher's
    exact test, corrected for all that was tried). `id` names it by what
    it says, so that the same proposal is the same tomorrow."""

    id: str
    offer: str
    when: str
    reason: str
    effect: Suggests
    hits: int
    rows: int
    others_hits: int
    others: int
    people: int
    p: float


class _Tried(msgspec.Struct, frozen=True):
    offer: str
    condition: str
    reason: str
    hits: int
    rows: int
    others_hits: int
    others: int
    people: int
    p: float


def rule_proposals(
    said: Sequence[Said], reasons: Sequence[FeedbackReason], types: Mapping[str, str]
) -> tuple[RuleProposal, ...]:
    """The strongest pattern of each offer and reason; `types` are those of the features that may be named.

    Compared is with the answers about everything else: an offer with the rest of the offers, a segment of an offer
    with the rest of that offer. At least two people must have said so where several answer.
    """
    suggested = {one.reason: one.suggests for one in reasons if one.suggests != "nothing"}
    found = _tried(said, suggested, types)
    tried = sorted(found, key=lambda one: (one.p, one.condition != "", one.offer, one.condition))
    several = len({one.by for one in said}) > 1
    kept: dict[tuple[str, str], _Tried] = {}
    for place, one in enumerate(tried):
        # Holm: the smallest against all, the next against the rest; the first that fails ends it.
        if one.p * (len(tried) - place) > ERRORS_MAX:
            break
        enough = one.rows >= ROWS_MIN and one.hits >= RATE_MIN * one.rows
        if enough and (one.people > 1 or not several):
            # Where a segment stands out from the rest of its offer, the offer as a whole does so because of it.
            before = kept.get((one.offer, one.reason))
            if before is None or (one.condition and not before.condition):
                kept[one.offer, one.reason] = one
    return tuple(_proposal(one, suggested[one.reason], min(1.0, one.p * len(tried))) for one in kept.values())


def _tried(said: Sequence[Said], suggested: Mapping[str, Suggests], types: Mapping[str, str]) -> Iterator[_Tried]:
    for offer in sorted({one.offer for one in said if one.offer}):
        own = [one for one in said if one.offer == offer]
        other = [one for one in said if one.offer != offer]
        for reason in suggested:
            if any(reason in one.reasons for one in own):
                yield _counted(offer, "", reason, own, other)
                for condition, inside in _segments(own, types):
                    rest = [one for one, within in zip(own, inside, strict=True) if not within]
                    some = [one for one, within in zip(own, inside, strict=True) if within]
                    if len(some) >= ROWS_MIN and rest:
                        yield _counted(offer, condition, reason, some, rest)


def _counted(offer: str, condition: str, reason: str, some: Sequence[Said], rest: Sequence[Said]) -> _Tried:
    hits = [one for one in some if reason in one.reasons and one.verdict != "approve"]
    elsewhere = sum(reason in one.reasons and one.verdict != "approve" for one in rest)
    p = fisher(len(hits), len(some), elsewhere, len(rest)) if rest else 1.0
    return _Tried(
        offer, condition, reason, len(hits), len(some), elsewhere, len(rest), len({one.by for one in hits}), p
    )


def _segments(own: Sequence[Said], types: Mapping[str, str]) -> Iterator[tuple[str, list[bool]]]:
    """Conditions over one feature: a value of a text or a truth, below or from a quartile of a number."""
    for name, type_ in sorted(types.items()):
        values = [one.segment.get(name) for one in own]
        given = [value for value in values if value is not None]
        if type_ in ("int", "double"):
            numbers = sorted(float(value) for value in given if isinstance(value, int | float))
            for cut in sorted({numbers[len(numbers) * quarter // 4] for quarter in (1, 2, 3)}) if numbers else ():
                text = f"{cut!r}" if type_ == "double" else str(int(cut))
                yield f"{name} >= {text}", [isinstance(v, int | float) and float(v) >= cut for v in values]
                yield f"{name} < {text}", [isinstance(v, int | float) and float(v) < cut for v in values]
        elif type_ in ("string", "bool"):
            for value in sorted({str(value) for value in given})[:LEVELS_MAX]:
                shown = value.lower() if type_ == "bool" else _literal(value)
                yield f"{name} == {shown}", [v is not None and str(v) == value for v in values]


def _literal(value: str) -> str:
    """A text as CEL writes it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fisher(hits: int, rows: int, others_hits: int, others: int) -> float:
    """The chance of at least so many of all hits among these rows if they fell at random (Fisher's exact test)."""
    total, marked = rows + others, hits + others_hits
    whole = _choices(total, marked)
    top = min(rows, marked)
    return min(1.0, sum(exp(_choices(rows, k) + _choices(others, marked - k) - whole) for k in range(hits, top + 1)
                        if marked - k <= others))  # fmt: skip


def _choices(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _proposal(one: _Tried, effect: Suggests, p: float) -> RuleProposal:
    when = f"offer.id == '{one.offer}'" + (f" && {one.condition}" if one.condition else "")
    name = hashlib.blake2b(f"{when}\x1f{one.reason}\x1f{effect}".encode(), digest_size=5).hexdigest()
    return RuleProposal(
        name, one.offer, when, one.reason, effect, one.hits, one.rows, one.others_hits, one.others, one.people, p
    )


def policy_of(one: RuleProposal) -> Policy:
    """The rule as a policy."""
    reason = f"people overrode this {one.hits} of {one.rows} times: {one.reason.replace('_', ' ')}"
    return Policy(
        id=f"learned.{one.reason}_{one.id}", effect="forbid" if one.effect == "forbid" else "require_review",
        class_="commercial", when=one.when, reason=reason, owner="feedback",
    )  # fmt: skip


def yaml_of(one: RuleProposal) -> str:
    """The policy as a file of the playbook's folder `policies/`."""
    policy = policy_of(one)
    return (
        "# Proposed from what people answered to reviews; see docs/learning-from-people.md.\n"
        "policies:\n"
        f"  - id: {policy.id}\n"
        f"    effect: {policy.effect}\n"
        f"    class: {policy.class_}\n"
        f"    when: {_quoted(policy.when)}\n"
        f"    reason: {_quoted(policy.reason)}\n"
        f"    owner: {policy.owner}\n"
        f"    version: {policy.version}\n"
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
