"""A LightGBM booster as an ONNX tree ensemble, node by node, to be served by onnxruntime beside the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MODES = {"<=": "BRANCH_LEQ", "==": "BRANCH_EQ"}


def onnx_of(booster: Any, features: int, name: str = "trees") -> bytes:  # noqa: ANN401 - lightgbm has no types
    """The booster's raw score as a model with the input `x` (rows, features) and the output `y` (rows, 1).

    A split by several categories becomes a chain of single ones. Numbers are float32, as the operator has them.
    """
    from onnx import TensorProto, helper

    columns: dict[str, Any] = {key: [] for key in _COLUMNS}
    for number, info in enumerate(booster.dump_model()["tree_info"]):
        _Nodes(columns, number).add(info["tree_structure"])
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM",
        post_transform="NONE", base_values=[0.0], **columns,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return made


_COLUMNS = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes", "nodes_truenodeids",
    "nodes_falsenodeids", "nodes_missing_value_tracks_true", "nodes_hitrates", "target_treeids", "target_nodeids",
    "target_ids", "target_weights",
)  # fmt: skip


class _Nodes:
    """The nodes of one tree, numbered as they come."""

    def __init__(self, columns: dict[str, list[Any]], tree: int) -> None:
        self._columns = columns
        self._tree = tree
        self._count = 0

    def add(self, node: Mapping[str, Any]) -> int:
        """Adds a node and all below it; gives its number."""
        if "split_feature" not in node:
            return self._leaf(float(node["leaf_value"]))
        if node["decision_type"] == "==":
            wanted = [float(one) for one in str(node["threshold"]).split("||")]
            return self._chain(node, wanted)
        here = self._node(node, float(node["threshold"]), bool(node["default_left"]))
        self._children(here, self.add(node["left_child"]), self.add(node["right_child"]))
        return here

    def _chain(self, node: Mapping[str, Any], wanted: list[float]) -> int:
        here = self._node(node, wanted[0], False)
        yes = self.add(node["left_child"])
        no = self._chain(node, wanted[1:]) if len(wanted) > 1 else self.add(node["right_child"])
        self._children(here, yes, no)
        return here

    def _node(self, node: Mapping[str, Any], value: float, missing_left: bool) -> int:
        mode = _MODES[node["decision_type"]]
        return self._row(int(node["split_feature"]), value, mode, int(missing_left))

    def _leaf(self, value: float) -> int:
        number = self._row(0, 0.0, "LEAF", 0)
        for key, one in (("treeids", self._tree), ("nodeids", number), ("ids", 0), ("weights", value)):
            self._columns[f"target_{key}"].append(one)
        return number

    def _row(self, feature: int, value: float, mode: str, missing: int) -> int:
        number = self._count
        self._count += 1
        row = (self._tree, number, feature, value, mode, 0, 0, missing, 1.0)
        for key, one in zip(_COLUMNS[:9], row, strict=True):
            self._columns[key].append(one)
        return number

    def _children(self, here: int, yes: int, no: int) -> None:
        at = len(self._columns["nodes_treeids"]) - self._count + here
        self._columns["nodes_truenodeids"][at] = yes
        self._columns["nodes_falsenodeids"][at] = no
