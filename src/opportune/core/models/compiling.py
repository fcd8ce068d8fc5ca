"""Compiling: what cards of one target say of the offers of a release, laid out for scoring."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from opportune.core.models.card import (
    EVERY_OFFER,
    MISSING_BIN,
    UNSEEN_BIN,
    AdditiveHead,
    FeatureTable,
    ModelError,
    OfferHeads,
    Scorecard,
    check_card,
)
from opportune.core.models.compiled import CompiledModel, Named, Numeric, Straight
from opportune.core.models.joint import Floats, Joint, Term, on_grid

LOG_ODDS_MAX = 500.0
"""No head may be able to leave ±500, so that `exp` needs no guard."""

_UNCOVERED = 400.0
_EFFECT_SIGNS = {"odds": (1, -1), "effect": (1, 0), "chance": (1, 0), "amount": (1, 0)}
"""With which sign the heads `offered` and `baseline` are reasons."""


def compile_scorecard(card: Scorecard, offers: Sequence[str], feature_names: Sequence[str]) -> CompiledModel:
    """The card for these offers and this order of feature values.

    Raises ModelError when the card is malformed or reads a feature that is not among `feature_names`.
    """
    return compile_scorecards((card,), offers, feature_names)


def compile_scorecards(
    cards: Sequence[Scorecard], offers: Sequence[str], feature_names: Sequence[str]
) -> CompiledModel:
    """Cards of one target as one model: each offer is scored by the card that has it, or by one for every offer.

    Raises ModelError as `compile_scorecard`, and when two cards have the same offer.
    """
    tables: list[FeatureTable] = []
    offsets: list[int] = []
    for card in cards:
        check_card(card)
        offsets.append(len(tables))
        tables += card.features
    positions = {name: position for position, name in enumerate(feature_names)}
    for card in cards:
        _readable(card, positions)
    numeric, named, walked = _lookups(tables, positions)
    firsts = np.cumsum([1, *(table.bin_count for table in tables)]).tolist()
    known = heads_of(cards)
    count = len(offers)
    found = [known.get(offer, known.get(EVERY_OFFER)) for offer in offers]
    matrix = np.zeros((firsts[-1], 3 * count))
    matrix[0, : 2 * count] = _UNCOVERED
    effect = np.zeros((count, firsts[-1]))
    terms: list[Term] = []
    for index, one in enumerate(found):
        if one is None:
            continue
        number, heads = one
        card, offset = cards[number], offsets[number]
        rows = slice(firsts[offset], firsts[offset + len(card.features)])
        for term, shift in _terms(card, heads, index, count, offset):
            column = _column(card, term.head, term.factor, shift, offers[index])
            matrix[0, term.column] = term.sign * column[0]
            matrix[rows, term.column] = term.sign * column[1:]
            effect[index, 0] += term.effect * column[0]
            effect[index, rows] += term.effect * column[1:]
            terms.append(term)
    place = {feature: at for at, feature in enumerate(walked, 1)}
    features = [(place[at], firsts[at], table.bin_count) for at, table in enumerate(tables)]
    joint = any(term.head.pairs or term.head.trees for term in terms)
    names = tuple(tables[feature].name for feature in walked)
    covered = tuple(one is not None for one in found)
    return CompiledModel(
        tuple(offers), covered, numeric, named, names, matrix, effect,
        Joint(terms, features, count) if joint else None,
        _straight(["" if one is None else cards[one[0]].form for one in found]),
    )  # fmt: skip


def heads_of(cards: Sequence[Scorecard]) -> dict[str, tuple[int, OfferHeads]]:
    """What is known of each offer, with the number of the card that knows it; ModelError when two do."""
    found: dict[str, tuple[int, OfferHeads]] = {}
    for number, card in enumerate(cards):
        for heads in card.offers:
            if heads.offer in found:
                other = cards[found[heads.offer][0]].model
                raise ModelError(
                    f"models `{other}` and `{card.model}` both predict {card.target} for `{heads.offer}`: release one "
                    "of them, or let each learn other offers"
                )
            found[heads.offer] = number, heads
    return found


def _readable(card: Scorecard, positions: dict[str, int]) -> None:
    for table in card.features:
        if table.name not in positions:
            raise ModelError(
                f"model `{card.model}` reads feature `{table.name}`, which no feature view gives: train it again"
            )


def _straight(forms: Sequence[str]) -> Straight | None:
    effects, amounts = ([place for place, one in enumerate(forms) if one == form] for form in ("effect", "amount"))
    if not effects and not amounts:
        return None
    return Straight(np.array(effects, np.int64), np.array(amounts, np.int64))


def _terms(card: Scorecard, heads: OfferHeads, place: int, count: int, offset: int) -> Iterator[tuple[Term, float]]:
    """The heads with the columns they go to, and the shift of each base; log-odds go in with the other sign, as
    `1 / (1 + exp(-x))` needs them."""
    scaling, form = card.calibration, card.form
    with_it, without = _EFFECT_SIGNS[form]
    offered = (1.0, 0.0) if form in ("effect", "amount") else (scaling.slope, scaling.shift_offered)
    baseline = offered if form in ("chance", "amount") else (scaling.slope, scaling.shift_baseline)
    wider = math.log(max(abs(scaling.slope), 1e-9)) if form in ("odds", "chance") else 0.0
    sign = 1 if form in ("effect", "amount") else -1
    # What is one number, whether offered or not, stands in both columns: then nothing else needs to know.
    second = heads.offered if form in ("chance", "amount") else heads.baseline
    below = 1 if form == "amount" else -1
    yield Term(place, heads.offered, offered[0], sign, place, with_it, offset), offered[1]
    yield Term(count + place, second, baseline[0], below, place, without, offset), baseline[1]
    yield Term(2 * count + place, heads.log_variance, 0.5, 1, place, 0, offset), wider


def _lookups(
    tables: Sequence[FeatureTable], positions: dict[str, int]
) -> tuple[list[Numeric], list[Named], list[int]]:
    """How to look up numeric features and the others, and the order in which `bins_of` walks the features."""
    numeric: list[Numeric] = []
    named: list[Named] = []
    numeric_order: list[int] = []
    named_order: list[int] = []
    row = 1
    for index, table in enumerate(tables):
        position = positions[table.name]
        if table.type == "numeric":
            numeric.append((position, row + MISSING_BIN, table.edges))
            numeric_order.append(index)
        else:
            found: tuple[object, ...] = (False, True) if table.type == "bool" else table.categories
            other = row + (MISSING_BIN if table.type == "bool" else UNSEEN_BIN)
            first = row + table.bin_count - len(found)
            rows: dict[object, int] = {value: first + number for number, value in enumerate(found)}
            named.append((position, row + MISSING_BIN, other, rows))
            named_order.append(index)
        row += table.bin_count
    return numeric, named, numeric_order + named_order


def _column(card: Scorecard, head: AdditiveHead, factor: float, shift: float, offer: str) -> Floats:
    """One head as a column: base first, then every bin of every feature, scaled and put on the grid."""
    flat = [factor * head.base + shift, *(factor * part for parts in head.parts for part in parts)]
    alone = [_most(parts) for parts in head.parts]
    together = [max(map(_most, pair.parts), default=0.0) for pair in head.pairs]
    reach = abs(flat[0]) + abs(factor) * (sum(alone) + sum(together) + sum(_most(tree.leaves) for tree in head.trees))
    if not reach < LOG_ODDS_MAX:
        raise ModelError(f"scorecard `{card.model}` can leave ±{LOG_ODDS_MAX:g} for `{offer}`: train it again")
    return on_grid(flat)


def _most(values: Sequence[float]) -> float:
    return max((abs(value) for value in values), default=0.0)
