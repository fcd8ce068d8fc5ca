"""The scorecard: a model as additive lookup tables, frozen, without code, named by the hash of its content."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from typing import Literal

import msgspec

from opportune.core.models.populations import Snapshot
from opportune.core.models.report import Report

CARD_VERSION = 1
MISSING_BIN = 0
UNSEEN_BIN = 1
"""Of a category feature: a value that training did not see, or too rarely to tell."""
LEAVES_MAX = 64
EVERY_OFFER = "*"
"""The offer of the one head of a card that speaks of the customer, not of an offer: churn_risk."""

FeatureType = Literal["numeric", "category", "bool"]
Form = Literal["odds", "effect", "chance", "amount"]
"""How a card's heads are read: see OfferHeads for the first two, which give the uplift of an offer. `chance`: the
log-odds of something (acceptance, churn, fatigue); `amount`: the logarithm of an amount. Both read `offered` alone."""


class ModelError(ValueError):
    """A scorecard that cannot be served as asked; says what does not fit and what to do."""


class FeatureTable(msgspec.Struct, frozen=True):
    """How one feature's value becomes a bin.

    numeric: 0 missing, then `len(edges) + 1` bins, each from its lower edge (included) to the next (excluded);
    category: 0 missing, 1 unseen, then one bin per category; bool: 0 missing, 1 false, 2 true.
    """

    name: str
    type: FeatureType
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def bin_count(self) -> int:
        return {"numeric": len(self.edges) + 2, "category": len(self.categories) + 2, "bool": 3}[self.type]

    def bin_of(self, value: object) -> int:
        """The bin of a value; a value of the wrong type counts as missing, so that scoring never fails on it."""
        if self.type == "category":
            if not isinstance(value, str):
                return MISSING_BIN
            return self.categories.index(value) + 2 if value in self.categories else UNSEEN_BIN
        if not isinstance(value, float | int) or value != value:
            return MISSING_BIN
        if self.type == "bool":
            return 2 if value == 1 else 1 if value == 0 else MISSING_BIN
        return bisect_right(self.edges, value) + 1

    def bin_label(self, index: int) -> str:
        """The bin in words: `missing`, `4 to 9`, `pro`."""
        if index == MISSING_BIN:
            return "missing"
        if self.type == "bool":
            return ("no", "yes")[index - 1]
        if self.type == "category":
            return "any other" if index == UNSEEN_BIN else self.categories[index - 2]
        if not self.edges:
            return "any value"
        if index == 1:
            return f"below {self.edges[0]:g}"
        if index == len(self.edges) + 1:
            return f"{self.edges[-1]:g} and more"
        return f"{self.edges[index - 2]:g} to {self.edges[index - 1]:g}"


class PairTable(msgspec.Struct, frozen=True):
    """What two features say together, beyond each alone: `parts[bin of first][bin of second]`."""

    first: int
    second: int
    parts: tuple[tuple[float, ...], ...]


class Tree(msgspec.Struct, frozen=True):
    """A decision tree over bins, with at most 64 leaves.

    Inner node i asks about feature `features[i]` (a place in the card's features): bins within one of the runs
    `left_bins[i]` (first and last, both included) go to `left[i]`, all others to `right[i]`. A child below 0 is the
    leaf `~child`, whose value is `leaves[~child]`. Node 0 is the root; a tree without nodes is its one leaf.
    `shares` are the shares of training rows per leaf: what the tree says of the average row is their mean.
    """

    features: tuple[int, ...]
    left_bins: tuple[tuple[tuple[int, int], ...], ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    leaves: tuple[float, ...]
    shares: tuple[float, ...]


class AdditiveHead(msgspec.Struct, frozen=True):
    """`base` plus one part per feature (`parts[feature][bin]`), per pair of features and per tree.

    Parts and pairs are centred on the average training row; a tree is not.
    """

    base: float
    parts: tuple[tuple[float, ...], ...]
    pairs: tuple[PairTable, ...] = ()
    trees: tuple[Tree, ...] = ()


class OfferHeads(msgspec.Struct, frozen=True):
    """What the card knows about one offer.

    In a card of form `odds`, `offered` and `baseline` are log-odds of buying within the label window, with and
    without the offer, before calibration. In one of form `effect`, `offered` is the uplift itself, as a difference of
    probabilities, and only `baseline` is calibrated. `log_variance` is the logarithm of the variance of the uplift.
    """

    offer: str
    offered: AdditiveHead
    baseline: AdditiveHead
    log_variance: AdditiveHead
    rows_offered: int
    rows_baseline: int
    bought_offered: int
    bought_baseline: int


class Calibration(msgspec.Struct, frozen=True):
    """Platt scaling with one slope for both heads: log-odds become `slope * log-odds + shift`."""

    slope: float = 1.0
    shift_offered: float = 0.0
    shift_baseline: float = 0.0


class Fit(msgspec.Struct, frozen=True):
    """What a trainer learned: tables before calibration, and how their heads are read."""

    features: tuple[FeatureTable, ...]
    offers: tuple[OfferHeads, ...]
    form: Form = "odds"


class CalibrationBin(msgspec.Struct, frozen=True):
    """Rows of about the same prediction: what was predicted and what happened, as shares."""

    rows: int
    predicted: float
    observed: float


class GateResult(msgspec.Struct, frozen=True):
    """One condition a card must meet before it may decide: `value` is None where it could not be measured."""

    gate: str
    limit: float
    value: float | None
    passed: bool
    message: str


class Training(msgspec.Struct, frozen=True):
    """Where a card comes from and how good it was on rows later than all it learned from.

    `settings` are those of the algorithm that were not left to it. `snapshot` is what its rows looked like: drift is
    found by holding what comes later against it.
    """

    data_hash: str
    rows: int
    rows_fit: int
    rows_calibrate: int
    rows_evaluate: int
    from_ms: int
    to_ms: int
    evaluated_from_ms: int
    label_window: str
    weight_max: float
    feature_views: Mapping[str, int]
    left_out: Mapping[str, int]
    metrics: Mapping[str, float]
    calibration_table: tuple[CalibrationBin, ...]
    gates: tuple[GateResult, ...]
    trainer: str
    algorithm: str = "additive"
    settings: Mapping[str, bool | int | float | str] = {}
    report: Report = Report()
    snapshot: Snapshot | None = None


class Scorecard(msgspec.Struct, frozen=True):
    """A model, whole. `approved` says that every gate passed, nothing else."""

    v: int
    model: str
    owner: str
    spec_hash: str
    features: tuple[FeatureTable, ...]
    offers: tuple[OfferHeads, ...]
    calibration: Calibration
    training: Training
    approved: bool
    form: Form = "odds"
    target: str = "uplift"


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Scorecard)


def encode_card(card: Scorecard) -> bytes:
    """The exact bytes that are hashed and stored in a release."""
    return _ENCODER.encode(card)


def decode_card(data: bytes) -> Scorecard:
    """The card back from its bytes, checked; ModelError when they are not one."""
    try:
        card = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise ModelError(f"these bytes are not a scorecard: {error}") from None
    check_card(card)
    return card


def card_hash(card: Scorecard) -> str:
    """The card's name in a release: 32 hexadecimal characters over its bytes."""
    return hashlib.blake2b(encode_card(card), digest_size=16).hexdigest()


def check_card(card: Scorecard) -> None:
    """Every head has a part for every bin of every feature, edges ascend, names occur once; else ModelError."""
    if card.v != CARD_VERSION:
        raise ModelError(f"scorecard `{card.model}` has format `{card.v}`: this version reads {CARD_VERSION}")
    _once(card.model, "feature", [table.name for table in card.features])
    _once(card.model, "offer", [heads.offer for heads in card.offers])
    for table in card.features:
        if any(low >= high for low, high in zip(table.edges, table.edges[1:], strict=False)):
            raise ModelError(f"edges of `{table.name}` in scorecard `{card.model}` must ascend")
        _once(card.model, f"category of `{table.name}`", table.categories)
    counts = [table.bin_count for table in card.features]
    for heads in card.offers:
        for head in (heads.offered, heads.baseline, heads.log_variance):
            if not _fits(head, counts):
                message = f"scorecard `{card.model}` needs one part per bin for `{heads.offer}`: train it again"
                raise ModelError(message)


def _fits(head: AdditiveHead, counts: list[int]) -> bool:
    """Whether parts, pairs and trees speak of the bins that there are."""
    return (
        [len(parts) for parts in head.parts] == counts
        and all(_pair_fits(pair, counts) for pair in head.pairs)
        and all(_tree_fits(tree, counts) for tree in head.trees)
    )


def _pair_fits(pair: PairTable, counts: list[int]) -> bool:
    if not (0 <= pair.first < len(counts) and 0 <= pair.second < len(counts) and pair.first != pair.second):
        return False
    return [len(row) for row in pair.parts] == [counts[pair.second]] * counts[pair.first]


def _tree_fits(tree: Tree, counts: list[int]) -> bool:
    """Every node but the root and every leaf is the child of one node that stands before it."""
    nodes, leaves = len(tree.features), len(tree.leaves)
    if not len(tree.left_bins) == len(tree.left) == len(tree.right) == nodes == leaves - 1 or leaves > LEAVES_MAX:
        return False
    if len(tree.shares) != leaves or not all(0 <= feature < len(counts) for feature in tree.features):
        return False
    for place, (feature, runs) in enumerate(zip(tree.features, tree.left_bins, strict=True)):
        if not all(0 <= first <= last < counts[feature] for first, last in runs):
            return False
        if any(0 <= child <= place for child in (tree.left[place], tree.right[place])):
            return False
    return not nodes or sorted((*tree.left, *tree.right)) == [*range(-leaves, 0), *range(1, nodes)]


def _once(model: str, what: str, names: list[str] | tuple[str, ...]) -> None:
    if len(set(names)) != len(names):
        raise ModelError(f"scorecard `{model}` names a {what} twice: {', '.join(names)}")
