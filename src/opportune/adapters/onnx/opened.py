"""An ONNX file is opened only when it is what the playbook says, data alone, and gives what is asked of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opportune.core.models import ModelError
from opportune.core.models.joint import Floats
from opportune.core.registry import RegistryError, format_of

BYTES_MAX = 256 * 1024 * 1024
OUTPUT = "uplift"
DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml"))
"""Operators that ONNX itself defines; others need code from elsewhere."""
ENDLESS = frozenset(("If", "Loop", "Scan", "SequenceMap"))
"""Operators that hold graphs of their own: nobody can say how long they run."""


def open_model(path: Path, hash_: str | None, model: str, features: Sequence[str]) -> OnnxModel:
    """The model of a file, for features in this order; ModelError says what is wrong with it and what to do."""
    try:
        data = path.read_bytes()
    except OSError:
        raise ModelError(f"model `{model}`: there is no file `{path.name}`: put it there, or take `onnx` out") from None
    found = hashlib.blake2b(data, digest_size=16).hexdigest()
    if hash_ != found:
        said = "no `onnx_hash` is given" if hash_ is None else f"`onnx_hash` is {hash_}"
        raise ModelError(
            f"model `{model}`: {said}, and the bytes of `{path.name}` have the hash {found}: if that is the file you "
            "mean, write this hash into the playbook; if not, it was altered: restore it"
        )
    return OnnxModel(data, model, tuple(features))


class OnnxModel:
    """A graph with one input, float32 (rows, features), and the output `uplift`, (rows, offers), whose names are in
    its metadata `offers`, with commas. A missing value is given as NaN, true as 1."""

    def __init__(self, data: bytes, model: str, features: tuple[str, ...]) -> None:
        """ModelError for bytes that are no such graph."""
        self.name = f"{model}@{hashlib.blake2b(data, digest_size=16).hexdigest()[:12]}"
        self._model, self._features = model, features
        _is_onnx(data, model)
        try:
            import onnx
            import onnxruntime
        except ImportError:
            raise ModelError(f"model `{model}` is ONNX: install opportune[onnx]") from None
        try:
            read = onnx.load_model_from_string(data)
        except Exception:  # noqa: BLE001 - whatever protobuf raises on bytes that are none
            raise ModelError(f"model `{model}`: its bytes cannot be read as ONNX: export it again") from None
        _only_data(read, model)
        self._offers = _offers(read, model)
        try:
            onnx.checker.check_model(read)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 4
            self._session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - both libraries have many errors of their own
            told = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise ModelError(f"model `{model}` is no ONNX graph that can be run ({told}): export it again") from None
        self._input = self._checked()

    def uplifts(self, rows: Sequence[Mapping[str, Any]], offers: Sequence[str]) -> Floats:
        """(rows, offers); not a number for an offer that the model does not have. ModelError for what is no uplift."""
        asked = np.array([[_number(row.get(name)) for name in self._features] for row in rows], np.float32)
        said = np.asarray(self._session.run([OUTPUT], {self._input: asked.reshape(len(rows), -1)})[0], np.float64)
        if said.shape != (len(rows), len(self._offers)) or not np.isfinite(said).all() or np.abs(said).max() > 1.0:
            raise ModelError(
                f"model `{self._model}` gave numbers that are no uplifts of {len(self._offers)} offers: they must be "
                "differences of chances, from -1 to 1"
            )
        found = np.full((len(rows), len(offers)), np.nan)
        for place, offer in enumerate(offers):
            if offer in self._offers:
                found[:, place] = said[:, self._offers.index(offer)]
        return found

    def _checked(self) -> str:
        inputs, outputs = self._session.get_inputs(), [one.name for one in self._session.get_outputs()]
        wanted = f"one input, float (rows, {len(self._features)})"
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 2:
            told = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise ModelError(f"model `{self._model}` must have {wanted}; it has {told}: export it again")
        if inputs[0].shape[1] != len(self._features):
            raise ModelError(
                f"model `{self._model}` takes {inputs[0].shape[1]} features, and its description names "
                f"{len(self._features)}: name them in the order it was trained with"
            )
        if OUTPUT not in outputs:
            raise ModelError(
                f"model `{self._model}` must have an output called `{OUTPUT}`, (rows, offers); it has "
                f"{', '.join(outputs)}: export it again"
            )
        return str(inputs[0].name)


def _is_onnx(data: bytes, model: str) -> None:
    if len(data) > BYTES_MAX:
        raise ModelError(f"model `{model}` has {len(data)} bytes: at most {BYTES_MAX} are read")
    try:
        kind = format_of(data, f"model `{model}`")
    except RegistryError as error:
        raise ModelError(str(error)) from None
    if kind != "onnx":
        raise ModelError(f"model `{model}` is {kind}, not ONNX: give it as a model of its own")


def _only_data(read: Any, model: str) -> None:  # noqa: ANN401 - onnx has no types
    """Refuses what lies outside the file, what needs code from elsewhere, and what may never end."""
    import onnx

    if read.functions:
        raise ModelError(f"model `{model}` brings functions of its own: export it with the operators of ONNX alone")
    for tensor in _tensors(read.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ModelError(
                f"model `{model}` keeps numbers in other files, which its hash does not hold: save it as one file "
                "(`onnx.save_model(..., save_as_external_data=False)`)"
            )
    versions = {one.domain: one.version for one in read.opset_import}
    for node in read.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if node.domain not in DOMAINS or not onnx.defs.has(node.op_type, versions.get(node.domain, 0), domain):
            called = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise ModelError(f"model `{model}` has an operator `{called}` that ONNX does not define: export it without")
        if node.op_type in ENDLESS:
            raise ModelError(f"model `{model}` has an operator `{node.op_type}` that may never end: export it without")


def _tensors(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - onnx has no types
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _offers(read: Any, model: str) -> list[str]:  # noqa: ANN401 - onnx has no types
    told = {one.key: one.value for one in read.metadata_props}.get("offers", "")
    found = [one.strip() for one in told.split(",") if one.strip()]
    if not found or len(set(found)) != len(found):
        raise ModelError(
            f"model `{model}` does not say which offers its columns are: put their names, with commas, into its "
            "metadata `offers`"
        )
    return found


def _number(value: object) -> float:
    return float(value) if isinstance(value, bool | int | float) else float("nan")
