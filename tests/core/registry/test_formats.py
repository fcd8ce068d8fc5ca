"""What a file of a model is, told by its first bytes: pickles are refused before anything is opened."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opportune.core.registry import RegistryError, format_of, only_python

VALUES: tuple[object, ...] = (
    {"weights": [1.0, 2.0]}, [1, 2, 3], ("a", 1), 7, "text", 1.5, None, True, {1, 2}, b"bytes", RegistryError,
    [{"a": (1, [2])}], 2**70, 1j,
)  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_pickle_of_any_protocol_is_refused(value: object, protocol: int) -> None:
    with pytest.raises(RegistryError) as told:
        format_of(pickle.dumps(value, protocol), "`model.pkl`")
    assert told.value.code == "unreadable"
    assert "LightGBM text" in str(told.value), "it says what to give instead"


@given(st.recursive(st.integers() | st.text() | st.floats() | st.booleans(), lambda inner: st.lists(inner, max_size=3)),
       st.integers(2, pickle.HIGHEST_PROTOCOL))  # fmt: skip
def test_a_pickle_is_called_one(value: object, protocol: int) -> None:
    with pytest.raises(RegistryError, match="is a Python pickle, which can run any code"):
        format_of(pickle.dumps(value, protocol))


def test_archives_and_compressed_files_are_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(1))
    for data, says in (
        (packed.getvalue(), "an archive"), (zlib.compress(pickle.dumps(1)), "compressed"),
        (zlib.compress(pickle.dumps(1), 1), "compressed"), (gzip.compress(pickle.dumps(1)), "compressed"),
    ):  # fmt: skip
        with pytest.raises(RegistryError, match=says):
            format_of(data)


@pytest.mark.parametrize("data", [b"", b"\n", b"model", b"\x00" * 20, b"PAR1", b"\x89HDF\r\n", "é".encode()])
def test_what_is_no_model_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(RegistryError, match="is no model that is known here"):
        format_of(data, "it")


def test_what_is_data_is_told_apart() -> None:
    assert format_of(b' \n{"v":1}') == "scorecard"
    assert format_of(b"tree\nversion=v4\n") == "lightgbm"
    assert format_of(b"\x08\x0a\x12\x08skl2onnx\x1a\x04") == "onnx"


def test_the_refusal_of_an_mlflow_flavour_names_it() -> None:
    said = str(only_python({"sklearn", "python_function"}, "mlflow theirs/1"))
    assert said.startswith("mlflow theirs/1 is kept as python_function, sklearn, which is a pickle")
    assert "mlflow.lightgbm.log_model" in said
