"""LightGBM's trees as a card has them: every split asked of every bin, so that nothing is left to a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from opportune.adapters.lightgbm.bins import Coding, Floats
from opportune.core.models import Tree

_KEPT = 9
"""Digits after the point of a leaf in a card."""


class Forest(msgspec.Struct, frozen=True):
    """A constant and trees that add to it, before anything is rounded."""

    base: float
    trees: tuple[Tree, ...] = ()

    def times(self, factor: float) -> Forest:
        """Everything multiplied."""
        scaled = tuple(
            msgspec.structs.replace(tree, leaves=tuple(factor * leaf for leaf in tree.leaves)) for tree in self.trees
        )
        return Forest(factor * self.base, scaled)

    def plus(self, other: Forest) -> Forest:
        """The sum of both."""
        return Forest(self.base + other.base, (*self.trees, *other.trees))

    def rounded(self) -> Forest:
        """As it is written into a card."""
        kept = tuple(
            msgspec.structs.replace(
                tree,
                leaves=tuple(round(leaf, _KEPT) for leaf in tree.leaves),
                shares=tuple(round(share, 6) for share in tree.shares),
            )
            for tree in self.trees
        )
        return Forest(round(self.base, _KEPT), kept)


def forest_of(booster: Any, coding: Coding, fixed: Mapping[int, float] | None = None) -> Forest:  # noqa: ANN401  (lightgbm has no types)
    """A booster's raw score as trees over bins. `fixed` gives columns after the features that are known beforehand
    (which offer, treated or not) their codes: their splits are decided here and disappear."""
    base, trees = 0.0, []
    for info in booster.dump_model()["tree_info"]:
        tree = _tree(info["tree_structure"], coding, fixed or {})
        if tree.features:
            trees.append(tree)
        else:
            base += tree.leaves[0]
    return Forest(base, tuple(trees))


def _tree(root: Mapping[str, Any], coding: Coding, fixed: Mapping[int, float]) -> Tree:
    """Nodes in the order of a walk that takes left first: each stands before its children."""
    features: list[int] = []
    runs: list[tuple[tuple[int, int], ...]] = []
    children: list[list[int]] = []
    leaves: list[float] = []
    rows: list[float] = []

    def walk(node: Mapping[str, Any]) -> int:
        while (place := node.get("split_feature")) is not None:
            if place in fixed:
                node = node["left_child" if _goes_left(node, fixed[place]) else "right_child"]
                continue
            left = [bin_ for bin_, code in enumerate(coding.codes[place]) if _goes_left(node, float(code))]
            if len(left) in (0, len(coding.codes[place])):
                node = node["left_child" if left else "right_child"]
                continue
            here = len(features)
            features.append(place)
            runs.append(_runs(left))
            children.append([0, 0])
            children[here][0] = walk(node["left_child"])
            children[here][1] = walk(node["right_child"])
            return here
        leaves.append(float(node["leaf_value"]))
        rows.append(float(node.get("leaf_count", 1)))
        return ~(len(leaves) - 1)

    walk(root)
    total = sum(rows) or 1.0
    return Tree(
        tuple(features),
        tuple(runs),
        tuple(left for left, _ in children),
        tuple(right for _, right in children),
        tuple(leaves),
        tuple(count / total for count in rows),
    )


def _goes_left(node: Mapping[str, Any], code: float) -> bool:
    """LightGBM's own rule (its Tree::NumericalDecision and CategoricalDecision)."""
    if node["decision_type"] == "==":
        named = {int(name) for name in str(node["threshold"]).split("||")}
        return not math.isnan(code) and int(code) in named
    if math.isnan(code):
        if node["missing_type"] == "NaN":
            return bool(node["default_left"])
        code = 0.0
    if node["missing_type"] == "Zero" and code == 0.0:
        return bool(node["default_left"])
    return code <= float(node["threshold"])


def _runs(bins: Sequence[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for bin_ in bins:
        if found and found[-1][1] == bin_ - 1:
            found[-1] = (found[-1][0], bin_)
        else:
            found.append((bin_, bin_))
    return tuple(found)


def centred(part: Floats, share: Floats) -> tuple[float, tuple[float, ...]]:
    """A table of parts as its mean over the training rows, and what is left, rounded for a card."""
    middle = float(share @ part)
    return middle, tuple(round(float(value - middle), _KEPT) for value in part)
