"""Many decisions under chance, and the statistics that tell whether chance did what the records say."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from scipy.stats import chi2

from opportune.core.catalog import (
    NO_OFFER,
    Channel,
    ContactLimit,
    Limit,
    Moment,
    Offer,
    Price,
    Prior,
    Risk,
    Treatment,
)
from opportune.core.customers import Account, Consent, Contact, Person
from opportune.core.decisions.arbitration import scored_rows
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.kernel import run
from opportune.core.decisions.records import Asked, Result, Seen
from opportune.core.decisions.scenarios import Mishaps
from opportune.core.decisions.snapshot import see
from opportune.core.features import FeatureSpec, FeatureView
from opportune.core.playbook import App, Arbitration, Exploration, Holdout, Playbook
from opportune.core.policies import Policy
from opportune.core.policies.documents import Effect, PolicyClass
from opportune.core.releases import compile_release, encode_manifest
from opportune.core.signals import SignalContract

NOW_MS = 1_795_000_000_000
HOUR_MS = 3_600_000
MOMENT = "page"
CALM = Mishaps(())

SETTINGS: Mapping[str, tuple[Exploration, Arbitration]] = {
    "inverse_gap": (Exploration(gamma=20.0, floor=0.02), Arbitration()),
    "inverse_gap, pcvl": (Exploration(gamma=8.0, floor=0.05), Arbitration(method="pcvl", same_kind_max=2)),
    "inverse_gap, no floor": (Exploration(gamma=60.0, floor=0.0), Arbitration()),
    "floor_only": (Exploration(method="floor_only", floor=0.3), Arbitration(same_kind_max=3)),
    "off": (Exploration(method="off"), Arbitration()),
}


def brain_of(exploration: Exploration, arbitration: Arbitration, confidence_min: Mapping[Risk, float] = {}) -> Brain:
    """Seven offers in two channels, of which two are always worth the same; policies of every effect, limits of every
    kind, a control group. Seats are of medium risk, all else of low."""
    book = Playbook(
        app=App(
            project="chance", holdout=Holdout(share=0.1, salt="chance"), exploration=exploration,
            arbitration=arbitration, confidence_min=confidence_min,
            moments=(Moment(moment=MOMENT, title="a page", channels=("app", "mail"), weights={"addon": 1.5}),),
            limits=(Limit(limit="seats_volume", at_most=100, per="1d", of="everyone", kinds=("seats",)),),
        ),
        offers=tuple(
            Offer(
                offer=name, title=name, kind=kind, price=Price(amount=10), margin=margin, owner="tests", lever=lever,
                risk="medium" if name == "seats" else "low",
                prior=Prior(p_accept=0.2, uplift=0.1),
                treatments={channel: Treatment(headline=name) for channel in channels},
            )
            for name, kind, margin, lever, channels in (
                ("plan", "plan", 400.0, 1.0, ("app", "mail")), ("seats", "seats", 350.0, 1.0, ("app",)),
                ("twin_a", "addon", 200.0, 1.0, ("app", "mail")), ("twin_b", "addon", 200.0, 1.0, ("app", "mail")),
                ("report", "addon", 120.0, 1.2, ("mail",)), ("careful", "care", 380.0, 1.0, ("app",)),
                ("sorry", "service", 10.0, 1.0, ("app",)),
            )
        ),
        channels=(
            Channel(channel="app", title="App", kind="pull", fatigue_cost=3.0,
                    limits=(ContactLimit(limit="offer", at_most=1, per="7d", count="offer"),
                            ContactLimit(limit="daily", at_most=3, per="1d"))),
            Channel(channel="mail", title="Mail", kind="push", contact_cost=1.0,
                    limits=(ContactLimit(limit="weekly", at_most=1, per="7d"),)),
        ),
        views=(
            FeatureView(
                view="usage", version=1, entity="person", owner="tests", purposes=("marketing",),
                features=(FeatureSpec(id="used", sources="used", value="data.count", aggregate="sum", type="int",
                                      default=0),),
            ),
        ),
        policies=(
            _policy("permit", "permit", "commercial", "offer.kind != 'service'"),
            _policy("consent", "forbid", "consent", "consent.status != 'given'"),
            _policy("small", "forbid", "suitability", "offer.kind == 'plan' && used < 15"),
            _policy("care", "permit", "commercial", "offer.kind == 'care'", explore=False),
            _policy("lever", "adjust", "commercial", "offer.kind == 'addon'", adjust="double(used) * 0.5 - 12.0"),
            _policy("force", "force", "commercial", "offer.kind == 'service' && used > 92"),
        ),
        contracts=(
            SignalContract(signal="used", owner="tests",
                           schema={"type": "object", "properties": {"count": {"type": "integer"}}}),
        ),
    )  # fmt: skip
    return compile_release(encode_manifest(book)).brain


def _policy(
    id_: str, effect: Effect, class_: PolicyClass, when: str, *, adjust: str | None = None, explore: bool = True
) -> Policy:
    return Policy(
        id=id_, effect=effect, class_=class_, when=when, adjust=adjust, explore=explore, reason="said", owner="tests"
    )


class Question(NamedTuple):
    """What is asked again and again, each time under another id."""

    asked: Asked
    seen: Seen


def questions(brain: Brain, count: int, seed: int, limit: int = 1) -> list[Question]:
    """Customers of every sort: use, consents, past contacts and what is left for everybody differ."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        who = f"c{number}"
        consents = {f"marketing/{one}": Consent("given", 0, "t") for one in ("app", "mail") if rng.random() < 0.8}
        contacts = tuple(
            Contact("d", rng.choice(brain.offers), rng.choice(("app", "mail")), at_ms, at_ms, "delivered")
            for at_ms in (NOW_MS - rng.randrange(10 * 24) * HOUR_MS for _ in range(rng.choice((0, 0, 1, 2, 4))))
        )
        person = Person(who, f"a{number}", consents=consents, contacts=contacts)
        room = {"limits.seats_volume": 0.0} if rng.random() < 0.1 else {}
        channels = rng.choice((("app",), ("mail",), ("app", "mail")))
        seen = see(brain, person, Account(f"a{number}", contacts=contacts), channels, NOW_MS, room=room)
        seen = msgspec.structs.replace(seen, features={"used": rng.randrange(100)})
        found.append(Question(Asked(who, MOMENT, channels, limit=limit), seen))
    return found


def decisions(
    brain: Brain, asked: Sequence[Question], count: int, first: int = 0
) -> Iterator[tuple[int, Result]]:
    """(number of the question, result) of `count` decisions, round and round."""
    for number in range(first, first + count):
        place = number % len(asked)
        question = asked[place]
        yield place, run(brain, question.asked, question.seen, f"01940000-0000-7000-8000-{number:012x}", CALM)


class Logged(NamedTuple):
    """What a record says about chance: the chance and worth of every candidate, NO_OFFER last, and which it was."""

    chances: dict[str, float]
    values: dict[str, float]
    chosen: str


NOTHING_SEEN = Seen(0, None, "", {}, {}, {})


def logged(brain: Brain, result: Result, seen: Seen = NOTHING_SEEN) -> Logged:
    rows = scored_rows(brain, result.scored, seen, result.model)
    chances = {row.candidate: row.probability for row in rows}
    values = {row.candidate: row.value for row in rows}
    chances[NO_OFFER] = max(1.0 - math.fsum(chances.values()), 0.0)
    values[NO_OFFER] = 0.0
    chosen = result.would or (f"{result.offer}@{result.channel}" if result.offer else NO_OFFER)
    if chances[NO_OFFER] < 1e-8:
        chances[NO_OFFER] = 0.0
    return Logged(chances, values, chosen)


class Agreement(NamedTuple):
    """A chi-square statistic, its degrees of freedom and its p; `impossible` were chosen with a logged chance of 0."""

    statistic: float
    freedom: int
    p: float
    impossible: int
    decisions: int


EDGES = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 1.0)
LEAST_EXPECTED = 12.0


def agreement(logs: Iterable[Logged]) -> Agreement:
    """Whether the chosen were chosen as often as logged.

    Candidates are pooled by (candidate, bin of its logged chance). Each decision is one multinomial draw over its own
    chances, so d = observed - expected has the covariance C = sum of diag(p) - p p', and d' C^- d is chi-square with
    rank(C) degrees of freedom. (With the same chances in every decision this is Pearson's test.) Groups that expect
    fewer than LEAST_EXPECTED are pooled once more.
    """
    groups: dict[tuple[str, int], int] = {}
    observed: Counter[int] = Counter()
    shapes: dict[tuple[tuple[int, float], ...], int] = defaultdict(int)
    impossible = count = 0
    for log in logs:
        count += 1
        if log.chances.get(log.chosen, 0.0) <= 0.0:
            impossible += 1
        row = []
        for name, chance in log.chances.items():
            if chance > 0.0:
                bin_ = int(np.searchsorted(EDGES, chance))
                group = groups.setdefault((name, bin_), len(groups))
                row.append((group, chance))
                if name == log.chosen:
                    observed[group] += 1
        shapes[tuple(row)] += 1
    size = len(groups)
    expected, covariance = np.zeros(size), np.zeros((size, size))
    for row_, times in shapes.items():
        p = np.zeros(size)
        for group, chance in row_:
            p[group] += chance
        expected += times * p
        covariance += times * (np.diag(p) - np.outer(p, p))
    seen = np.array([observed[group] for group in range(size)], float)
    pool = _pooling(expected)
    return _wald(pool @ (seen - expected), pool @ covariance @ pool.T, impossible, count)


def _pooling(expected: np.ndarray) -> np.ndarray:
    """A matrix that adds up all groups that expect too few."""
    few = expected < LEAST_EXPECTED
    rows = [np.eye(len(expected))[place] for place in np.flatnonzero(~few)]
    return np.array([*rows, few.astype(float)] if few.any() else rows)


def _wald(difference: np.ndarray, covariance: np.ndarray, impossible: int, count: int) -> Agreement:
    sizes, directions = np.linalg.eigh(covariance)
    open_ = sizes > 1e-6 * max(sizes.max(), 1.0)
    along = directions.T @ difference
    statistic = float((along[open_] ** 2 / sizes[open_]).sum())
    # Where chance has no room nothing may differ (but for how chances are rounded: 1e-9 each).
    off = float(np.abs(along[~open_]).max(initial=0.0))
    freedom = int(open_.sum())
    p = float(chi2.sf(statistic, freedom)) if freedom else 1.0
    if impossible or off > 1e-6 * count + 1e-3:
        p = 0.0
    return Agreement(statistic, freedom, p, impossible, count)


def slate_agreement(brain: Brain, asked: Sequence[Question], count: int) -> Agreement:
    """Whether each further place of a slate was filled as often as logged, given those before it.

    Only the chance of what was picked is logged: within one question and one beginning of the slate it is the same
    whenever the same is picked, and what was never picked is counted together with ending there.
    """
    counts: dict[tuple[int, tuple[str, ...]], Counter[str]] = defaultdict(Counter)
    chances: dict[tuple[int, tuple[str, ...]], dict[str, float]] = defaultdict(dict)
    torn = 0
    for place, result in decisions(brain, asked, count):
        if result.disposition != "offered" or result.offer is None:
            continue
        before: tuple[str, ...] = (f"{result.offer}@{result.channel}",)
        for pick in result.slate:
            at = (place, before)
            counts[at][pick.offer] += 1
            torn += abs(chances[at].setdefault(pick.offer, pick.action_probability) - pick.action_probability) > 1e-12
            before = (*before, pick.offer)
        if len(before) < asked[place].asked.limit:
            counts[place, before]["end"] += 1
    statistic, freedom = 0.0, 0
    for at, found in counts.items():
        total = found.total()
        cells = sorted((total * chance, found[name]) for name, chance in chances[at].items())
        left, ended = total - sum(expected for expected, _ in cells), total - sum(seen for _, seen in cells)
        if left < 1e-6 * total and ended:
            return Agreement(math.inf, 1, 0.0, ended, count)
        cells.insert(0, (left, ended))
        while len(cells) > 1 and cells[0][0] < LEAST_EXPECTED:  # the rarest go together
            (one, seen), (other, more) = cells[:2]
            cells[:2] = [(one + other, seen + more)]
            cells.sort()
        statistic += sum((seen - expected) ** 2 / expected for expected, seen in cells)
        freedom += len(cells) - 1
    return Agreement(statistic, freedom, 0.0 if torn else float(chi2.sf(statistic, freedom)), torn, count)


Corrupt = Callable[[Logged], Logged]


def ten_percent_off(log: Logged) -> Logged:
    """What is tried is logged a tenth too rarely; the best gets the rest."""
    best = max(log.chances, key=lambda name: log.chances[name])
    chances = {name: chance * 0.9 for name, chance in log.chances.items()}
    chances[best] += 0.1 * math.fsum(log.chances.values())
    return log._replace(chances=chances)


def last_of_a_tie(log: Logged) -> Logged:
    """Of two that are worth the same, the chance of the first is logged for the second and the other way round."""
    open_ = {name: value for name, value in log.values.items() if log.chances[name] > 0.0}
    best = max(open_.values())
    tied = [name for name, value in open_.items() if value == best]
    if len(tied) < 2:
        return log
    chances = dict(log.chances)
    chances[tied[0]], chances[tied[1]] = chances[tied[1]], chances[tied[0]]
    return log._replace(chances=chances)


def rounded(log: Logged) -> Logged:
    """Chances of one decimal."""
    return log._replace(chances={name: round(chance, 1) for name, chance in log.chances.items()})


def without_floor(log: Logged) -> Logged:
    """Chances as they are before the floor is spread (0.3 over all that are left)."""
    tried = {name: chance for name, chance in log.chances.items() if chance > 0.0}
    if len(tried) < 2:
        return log
    bare = {name: max(round(chance - 0.3 / len(tried), 6), 0.0) / 0.7 for name, chance in tried.items()}
    return log._replace(chances={**dict.fromkeys(log.chances, 0.0), **bare})
