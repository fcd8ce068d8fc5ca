"""Reads a LightGBM model from its text as trees over bins, so that it is calibrated, judged and served as any other.

The format is LightGBM's own text model, version 4 (microsoft/LightGBM, src/io/tree.cpp and gbdt_model_text.cpp):
numbers in lines `name=value`, one block per tree. Nothing in it is run.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import msgspec

from opportune.core.models import (
    LEAVES_MAX,
    AdditiveHead,
    FeatureTable,
    Fit,
    LearnError,
    OfferHeads,
    Trainer,
    TrainingSet,
    Tree,
)
from opportune.core.registry.events import RegistryError

ZERO = 1.0000000180025095e-35
"""LightGBM takes what is nearer to 0 for 0 (`kZeroThreshold`)."""
CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING = {0: "none", 1: "zero", 2: "nan"}
LOG_VARIANCE = math.log(0.25)
"""How sure a model is that says nothing of it: half a unit of log-odds."""


class Split(msgspec.Struct, frozen=True):
    """Values at most `threshold` go left; what is missing goes left where `missing_left` says so."""

    feature: int
    threshold: float
    missing: str
    missing_left: bool


class TextTree(msgspec.Struct, frozen=True):
    """A tree as it is written: a child below 0 is the leaf `~child`."""

    splits: tuple[Split, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    leaves: tuple[float, ...]
    counts: tuple[float, ...]


class Booster(msgspec.Struct, frozen=True):
    """Trees whose sum is a log-odds."""

    features: tuple[str, ...]
    trees: tuple[TextTree, ...]


class BoosterTrainer(Trainer):
    """Learns nothing: gives the booster's trees as the fit, for what comes after a fit to calibrate and to judge."""

    def __init__(self, data: bytes, name: str) -> None:
        """RegistryError `unreadable` when the text cannot be served."""
        self._booster = read_booster(data, name)

    @property
    def name(self) -> str:
        return f"LightGBM from elsewhere, {len(self._booster.trees)} trees"

    def fit(self, examples: TrainingSet, offers: Sequence[str]) -> Fit:
        """The trees for every offer; raises LearnError when they ask for features that the model's spec has not."""
        if examples.target not in ("acceptance", "churn_risk", "fatigue"):
            raise LearnError(
                f"a LightGBM text gives the chance of something, and the model is one of {examples.target}: import it "
                "for a model whose `target` is acceptance, churn_risk or fatigue"
            )
        types = dict(zip(examples.feature_names, examples.feature_types, strict=True))
        for feature in self._booster.features:
            if types.get(feature, "string") == "string":
                what = "is a text there" if feature in types else f"is none of {', '.join(types)}"
                raise LearnError(f"the trees ask for `{feature}`, which {what}: put numbers they know in `features`")
        tables = tables_of(self._booster, types)
        head = head_of(self._booster, tables)
        flat = AdditiveHead(0.0, tuple((0.0,) * table.bin_count for table in tables))
        spread = msgspec.structs.replace(flat, base=LOG_VARIANCE)
        heads = []
        for offer in dict.fromkeys(row.offer for row in examples.examples):
            rows = [row for row in examples.examples if row.offer == offer]
            on = [row for row in rows if row.treated]
            got, beside = sum(row.bought for row in on), sum(row.bought for row in rows if not row.treated)
            heads.append(OfferHeads(offer, head, flat, spread, len(on), len(rows) - len(on), got, beside))
        return Fit(tables, tuple(heads), "chance")


def read_booster(data: bytes, name: str = "the file") -> Booster:
    """A binary classifier of numeric features, with at most 64 leaves a tree; RegistryError for any other."""
    try:
        text = data.decode("utf-8")
        head, *blocks = text.split("\nTree=")
        said = _lines(head)
        slope = _slope(said["objective"])
        plain = said["num_tree_per_iteration"] == "1" and "average_output" not in head.split("\n")
        trees = tuple(_tree(_lines(block.partition("\nend of trees")[0]), slope) for block in blocks)
        features = tuple(said["feature_names"].split(" "))
        sound = all(0 <= split.feature < len(features) for tree in trees for split in tree.splits)
    except (UnicodeDecodeError, KeyError, ValueError, IndexError) as error:
        raise RegistryError("unreadable", f"{name} cannot be read as LightGBM text: {error}") from None
    if not plain or not trees or not sound:
        raise RegistryError("unreadable", f"{name} is no single boosted sum of trees: train with `objective=binary`")
    return Booster(features, trees)


def tables_of(booster: Booster, types: Mapping[str, str]) -> tuple[FeatureTable, ...]:
    """Bins between all thresholds of each feature; where 0 counts as missing, it has a bin of its own."""
    found = []
    for place, name in enumerate(booster.features):
        splits = [split for tree in booster.trees for split in tree.splits if split.feature == place]
        if types.get(name) == "bool":
            found.append(FeatureTable(name, "bool"))
            continue
        # At most t is below the next number after t.
        edges = {math.nextafter(split.threshold, math.inf) for split in splits}
        if any(split.missing == "zero" for split in splits):
            edges |= {-ZERO, math.nextafter(ZERO, math.inf)}
        found.append(FeatureTable(name, "numeric", tuple(sorted(edges))))
    return tuple(found)


def head_of(booster: Booster, tables: Sequence[FeatureTable]) -> AdditiveHead:
    """The sum of the trees over these bins; no value gives another number than LightGBM's own."""
    trees = tuple(
        Tree(
            tuple(split.feature for split in tree.splits),
            tuple(_runs(split, tables[split.feature]) for split in tree.splits),
            tree.left, tree.right, tree.leaves, _shares(tree.counts),
        )
        for tree in booster.trees
    )  # fmt: skip
    return AdditiveHead(0.0, tuple((0.0,) * table.bin_count for table in tables), (), trees)


def _runs(split: Split, table: FeatureTable) -> tuple[tuple[int, int], ...]:
    """The bins that go left, as runs of first and last."""
    left = [index for index in range(table.bin_count) if _goes_left(split, table, index)]
    runs: list[tuple[int, int]] = []
    for index in left:
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return tuple(runs)


def _goes_left(split: Split, table: FeatureTable, index: int) -> bool:
    if index == 0:
        # Where nothing is said of what is missing, LightGBM reads it as 0.
        return split.missing_left if split.missing != "none" else split.threshold >= 0.0
    if table.type == "bool":
        value = float(index - 1)
        zero = split.missing == "zero" and value == 0.0
        return split.missing_left if zero else value <= split.threshold
    if split.missing == "zero" and index == bisect_right(table.edges, 0.0) + 1:
        return split.missing_left
    return index <= table.edges.index(math.nextafter(split.threshold, math.inf)) + 1


def _tree(said: Mapping[str, str], slope: float) -> TextTree:
    leaves = int(said["num_leaves"])
    if leaves > LEAVES_MAX:
        raise ValueError(f"a tree has {leaves} leaves, at most {LEAVES_MAX} can be served: train with num_leaves=64")
    if said.get("num_cat", "0") != "0" or said.get("is_linear", "0") != "0":
        raise ValueError("trees over categories and linear trees cannot be served: train on numbers alone")
    splits: tuple[Split, ...] = ()
    if leaves > 1:
        rows = zip(_ints(said["split_feature"]), _floats(said["threshold"]), _ints(said["decision_type"]), strict=True)
        splits = tuple(_split(feature, threshold, kind) for feature, threshold, kind in rows)
    found = TextTree(
        splits, _ints(said.get("left_child", "")), _ints(said.get("right_child", "")),
        tuple(slope * value for value in _floats(said["leaf_value"])), _floats(said.get("leaf_count", "1")),
    )  # fmt: skip
    if not len(found.left) == len(found.right) == len(splits) == leaves - 1 or len(found.leaves) != leaves:
        raise ValueError("a tree has other numbers of nodes and leaves than it says")
    return found


def _split(feature: int, threshold: float, kind: int) -> Split:
    if kind & CATEGORICAL or kind >> 2 not in MISSING or not math.isfinite(threshold):
        raise ValueError(f"a split of kind {kind} at {threshold} is not known")
    return Split(feature, threshold, MISSING[kind >> 2], bool(kind & DEFAULT_LEFT))


def _slope(objective: str) -> float:
    """By how much a sum becomes a log-odds; ValueError for an objective that gives none."""
    name, *settings = objective.split(" ")
    if name not in ("binary", "cross_entropy"):
        raise ValueError(f"its objective is `{name}`, which gives no chance: train with objective=binary")
    given = dict(one.partition(":")[::2] for one in settings)
    return float(given.get("sigmoid", "1"))


def _shares(counts: Sequence[float]) -> tuple[float, ...]:
    total = sum(counts)
    return tuple(count / total for count in counts) if total > 0.0 else tuple(1.0 / len(counts) for _ in counts)


def _lines(block: str) -> dict[str, str]:
    return dict(line.rstrip("\r").partition("=")[::2] for line in block.split("\n") if "=" in line)


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split())


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(one) for one in text.split())
