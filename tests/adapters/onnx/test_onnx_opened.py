"""An ONNX file is run only when it is the one that is meant, is data alone, and gives uplifts of named offers."""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from opportune.adapters.onnx import OnnxModel, open_model
from opportune.core.models import ModelError

FEATURES = ("seats", "active")


def graph(
    nodes: Sequence[Any] | None = None, *, inputs: int = 2, output: str = "uplift", offers: str = "a, b",
    weights: Any = None, functions: Sequence[Any] = (), kind: int = TensorProto.FLOAT,
) -> bytes:  # fmt: skip
    """tanh(x W): two offers from two features."""
    table = weights or numpy_helper.from_array(np.array([[0.01, -0.02], [0.1, 0.2]], np.float32), "w")
    if inputs != 2:
        table = numpy_helper.from_array(np.zeros((inputs, 2), np.float32), "w")
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Tanh", ["m"], [output])]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, [None, inputs])],
        [helper.make_tensor_value_info(output, kind, [None, 2])], [table],
    )  # fmt: skip
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)], ir_version=8,
        functions=list(functions),
    )  # fmt: skip
    if offers:
        helper.set_model_props(model, {"offers": offers})
    return bytes(model.SerializeToString())


def test_it_gives_the_uplift_of_the_offers_it_has() -> None:
    model = OnnxModel(graph(), "heavy", FEATURES)
    rows: list[dict[str, Any]] = [{"seats": 10, "active": True}, {"active": False, "seats": 3.5, "plan": "pro"}]
    found = model.uplifts(rows, ["b", "other", "a"])
    assert np.isnan(found[:, 1]).all()
    assert found[0, 2] == pytest.approx(np.tanh(0.2), abs=1e-6)
    assert found[1, 0] == pytest.approx(np.tanh(-0.07), abs=1e-6)


def test_what_is_no_uplift_is_no_answer() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["uplift"])]
    model = OnnxModel(graph(nodes), "heavy", FEATURES)
    for value in (1000.0, None):
        with pytest.raises(ModelError, match="numbers that are no uplifts of 2 offers: they must be differences"):
            model.uplifts([{"seats": value, "active": True}], ["a"])


def test_only_the_bytes_that_are_meant_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "heavy.onnx"
    path.write_bytes(graph())
    name = hashlib.blake2b(graph(), digest_size=16).hexdigest()
    assert open_model(path, name, "heavy", FEATURES).name == f"heavy@{name[:12]}"
    path.write_bytes(graph(offers="a, c"))
    with pytest.raises(ModelError, match=f"`onnx_hash` is {name}, and the bytes of `heavy.onnx` have the hash"):
        open_model(path, name, "heavy", FEATURES)
    with pytest.raises(ModelError, match=r"there is no file `gone\.onnx`: put it there"):
        open_model(tmp_path / "gone.onnx", name, "heavy", FEATURES)


def outside() -> Any:
    tensor = numpy_helper.from_array(np.zeros((2, 2), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def custom(op: str, domain: str) -> list[Any]:
    return [helper.make_node(op, ["x"], ["uplift"], domain=domain)]


FUNCTION = helper.make_function(
    "acme", "Mine", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], [helper.make_opsetid("", 17)]
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (graph(custom("PyOp", "acme")), "an operator `acme.PyOp` that ONNX does not define: export it without"),
        (graph(custom("Nonsense", "")), "an operator `Nonsense` that ONNX does not define"),
        (graph([helper.make_node("Loop", ["x"], ["uplift"])]), "an operator `Loop` that may never end"),
        (graph(weights=outside()), "keeps numbers in other files, which its hash does not hold: save it as one file"),
        (graph(functions=[FUNCTION]), "brings functions of its own"),
        (graph(inputs=5), "takes 5 features, and its description names 2: name them in the order"),
        (graph(output="y"), r"must have an output called `uplift`, \(rows, offers\); it has y"),
        (graph(offers=""), "does not say which offers its columns are"),
        (graph(offers="a, a"), "does not say which offers its columns are"),
        (graph(kind=TensorProto.DOUBLE), "is no ONNX graph that can be run|must have one input, float"),
        (b"\x08\x08\x12" + b"\xff" * 40, "its bytes cannot be read as ONNX: export it again"),
        (pickle.dumps({"a": 1}), "is a Python pickle, which can run any code when it is opened, so it is refused"),
        (b"PK\x03\x04" + b"\x00" * 30, "is an archive, as PyTorch and skops make them"),
        (b"\x78\x9c" + b"\x00" * 30, "is compressed, as joblib does with pickles"),
        (b"tree\nversion=v4\n", "is lightgbm, not ONNX"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_told_what_to_do(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        OnnxModel(data, "heavy", FEATURES)


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"install opportune\[onnx\]"):
        OnnxModel(graph(), "heavy", FEATURES)


def test_the_wiring_opens_only_files_of_the_playbook(tmp_path: Path) -> None:
    from opportune.core.playbook import ModelSpec
    from opportune.wiring import onnx_of

    (tmp_path / "book" / "models").mkdir(parents=True)
    (tmp_path / "book" / "models" / "heavy.onnx").write_bytes(graph())
    (tmp_path / "elsewhere.onnx").write_bytes(graph())
    name = hashlib.blake2b(graph(), digest_size=16).hexdigest()

    def spec(path: str) -> ModelSpec:
        return ModelSpec(model="heavy", owner="o", features=FEATURES, validates="fast", onnx=path, onnx_hash=name)

    assert onnx_of(tmp_path / "book", spec("models/heavy.onnx")).name == f"heavy@{name[:12]}"
    with pytest.raises(ModelError, match=r"`\.\./elsewhere\.onnx` leads out of the playbook: put the file into it"):
        onnx_of(tmp_path / "book", spec("../elsewhere.onnx"))
