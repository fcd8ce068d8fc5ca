"""What a file of a model is, by its first bytes: what runs code when it is opened is never opened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from opportune.core.registry.events import RegistryError

Format = Literal["scorecard", "lightgbm", "onnx"]

EXPORTS = (
    'give it as a scorecard of Opportune (JSON), as LightGBM text (`booster.save_model("model.txt")`) or as ONNX: '
    "those are data, and are read without running anything"
)
_OPENERS = re.compile(rb"\(?[ci][A-Za-z_][\w.]*\n[A-Za-z_]\w*\n|\((?:lp|dp|tp?)\d+\n|[\]}(]q?\x00?")
_ARCHIVE = b"PK\x03\x04"
_COMPRESSED = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"ZF")
_ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"
"""Keys of the fields that follow `ir_version` in a ModelProto."""


def format_of(data: bytes, name: str = "the file") -> Format:
    """What kind of model these bytes hold; RegistryError `unreadable` for a pickle, and for what is no model."""
    why = _refused(data)
    if why:
        raise RegistryError("unreadable", f"{name} {why}, so it is refused: {EXPORTS}")
    start = data.lstrip()[:8]
    if start.startswith(b"{"):
        return "scorecard"
    if start.startswith((b"tree\n", b"tree\r\n")):
        return "lightgbm"
    if len(data) > 8 and data[0] == 0x08 and 1 <= data[1] <= 20 and data[2] in _ONNX_FIELDS:
        return "onnx"
    raise RegistryError("unreadable", f"{name} is no model that is known here: {EXPORTS}")


def _refused(data: bytes) -> str:
    """Why bytes are not even looked at."""
    if _is_pickle(data):
        return "is a Python pickle, which can run any code when it is opened"
    if data.startswith(_ARCHIVE):
        return "is an archive, as PyTorch and skops make them, and may hold pickles"
    if data.startswith(_COMPRESSED):
        return "is compressed, as joblib does with pickles"
    return ""


def _is_pickle(data: bytes) -> bool:
    """Protocols 2 to 5 begin with a mark and their number; 0 and 1 with an opcode, and all end with a dot."""
    if re.match(rb"\x80[\x02-\x05]", data):
        return True
    return data[-1:] == b"." and _OPENERS.match(data) is not None


def only_python(flavours: Iterable[str], where: str) -> RegistryError:
    """The refusal of a model that an MLflow store keeps only in forms that run code when they are opened."""
    named = ", ".join(sorted(flavours)) or "python_function"
    return RegistryError(
        "unreadable", f"{where} is kept as {named}, which is a pickle and can run any code when it is opened, so it is "
        "refused: log it with `mlflow.lightgbm.log_model` or `mlflow.onnx.log_model`, or log the scorecard that "
        "`opportune train` made as the artefact `scorecard.json`"
    )  # fmt: skip
