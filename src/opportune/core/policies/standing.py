"""What the verdicts of all policies amount to for each candidate: deny by default, a forbid beats every permit."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from opportune.core.bitsets import indices

from .documents import HARD_CLASSES, Policy


class Verdicts(NamedTuple):
    """What each policy said, numbered in the order of `CompiledPolicies.policies`.

    hits[n]: the candidates for which policy n's condition is true. failed: (policy, candidates without an answer,
    the names of missing values or what failed). levers: (policy, candidates, what it adds). within: who was asked
    about.
    """

    hits: tuple[int, ...]
    failed: tuple[tuple[int, int, tuple[str, ...]], ...]
    levers: tuple[tuple[int, int, float], ...]
    within: int


class Standing(msgspec.Struct, frozen=True):
    """Where every candidate stands; masks over the candidates.

    allowed: permitted and not forbidden. permitted: some permit or force hit it. forced: a force hit it, and no
    legal or consent policy forbids it. forbids: (policy, candidates it holds back), in the order they are named;
    a legal or consent policy without an answer is among them. review, obligations: (id, candidates). skipped:
    (policy, candidates, causes) of the failures that do not forbid. levers: candidate -> sum of adjustments.
    forces: (id, candidates) of the overrides. unexplored: candidates of a policy that says `explore: false`, also
    where it has no answer.
    """

    allowed: int
    permitted: int
    forced: int
    forbids: tuple[tuple[Policy, int], ...]
    review: tuple[tuple[str, int], ...]
    obligations: tuple[tuple[str, int], ...]
    skipped: tuple[tuple[str, int, tuple[str, ...]], ...]
    levers: Mapping[int, float]
    permits: tuple[tuple[str, int], ...]
    forces: tuple[tuple[str, int], ...] = ()
    unexplored: int = 0

    def forbidden_by(self, candidate: int) -> tuple[Policy, ...]:
        """Return the policies that hold a candidate back, in the order they are named."""
        return tuple(policy for policy, mask in self.forbids if mask >> candidate & 1)


def resolve(policies: Sequence[Policy], verdicts: Verdicts) -> Standing:
    """Return where every candidate stands.

    Deny by default: a candidate needs a permit (or a force). A forbid beats every permit. A policy of class legal
    or consent without an answer forbids, whatever its effect; others without one are skipped and reported. A force
    overrides the forbids of the other classes, never those of legal and consent.
    """
    within = verdicts.within
    # INVARIANT: nothing below clears a bit of `hard`; a missing value only ever adds to it.
    hard, lost, skipped = unanswered(policies, verdicts)
    permitted = forced = 0
    held: list[tuple[Policy, int]] = []
    review: list[tuple[str, int]] = []
    permits: list[tuple[str, int]] = []
    forces: list[tuple[str, int]] = []
    obligations: dict[str, int] = {}
    for number, hit in enumerate(verdicts.hits):
        if not hit and number not in lost:
            continue  # as most policies say of most customers
        policy = policies[number]
        effect = policy.effect
        against = lost.get(number, 0) | (hit if effect == "forbid" else 0)
        if against:
            held.append((policy, against))
            if policy.class_ in HARD_CLASSES:
                hard |= against
        if not hit:
            continue
        if effect == "permit":
            permitted |= hit
            permits.append((policy.id, hit))
        elif effect == "force":
            forced |= hit
            forces.append((policy.id, hit))
        elif effect == "require_review":
            review.append((policy.id, hit))
        for obligation in policy.obligations:
            obligations[obligation] = obligations.get(obligation, 0) | hit
    forced &= ~hard
    permitted |= forced
    forbids = [(p, mask if p.class_ in HARD_CLASSES else mask & ~forced) for p, mask in held] if forced else held
    forbidden = 0
    for _, mask in forbids:
        forbidden |= mask
    return Standing(
        allowed=permitted & ~forbidden & within,
        permitted=permitted,
        forced=forced,
        forbids=tuple((policy, mask) for policy, mask in forbids if mask),
        review=tuple(review),
        obligations=tuple(obligations.items()),
        skipped=tuple(skipped),
        levers=sums(verdicts.levers),
        permits=tuple(permits),
        forces=tuple(forces),
        unexplored=best_only(policies, verdicts),
    )


def unanswered(
    policies: Sequence[Policy], verdicts: Verdicts
) -> tuple[int, dict[int, int], list[tuple[str, int, tuple[str, ...]]]]:
    """Return (candidates held back by law or consent for want of an answer, the same per policy, what is skipped)."""
    hard, lost = 0, dict[int, int]()
    skipped: list[tuple[str, int, tuple[str, ...]]] = []
    for number, mask, causes in verdicts.failed:
        policy = policies[number]
        if policy.class_ in HARD_CLASSES:
            lost[number] = lost.get(number, 0) | mask
            hard |= mask
        else:
            skipped.append((policy.id, mask, causes))
    return hard, lost, skipped


def best_only(policies: Sequence[Policy], verdicts: Verdicts) -> int:
    """Return the candidates of policies that say `explore: false`, also those where they have no answer."""
    mask = 0
    for number, hit in enumerate(verdicts.hits):
        if hit and not policies[number].explore:
            mask |= hit
    for number, lost, _ in verdicts.failed:
        if not policies[number].explore:
            mask |= lost
    return mask


def sums(levers: Sequence[tuple[int, int, float]]) -> dict[int, float]:
    """Return candidate -> the sum of what the levers add, in the order of the policies."""
    total: dict[int, float] = {}
    for _, mask, value in levers:
        for candidate in indices(mask):
            total[candidate] = total.get(candidate, 0.0) + value
    return total
