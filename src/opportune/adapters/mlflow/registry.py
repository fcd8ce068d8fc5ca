"""Fetches a model from an MLflow registry as data: our scorecard, LightGBM text or ONNX, and never a pickle."""

from __future__ import annotations

import hashlib
import re

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from opportune.adapters.mlflow.rest import Server
from opportune.adapters.mlflow.runs import HASH_TAG, SCORECARD
from opportune.core.registry import RegistryError, only_python

PREFIX = "mlflow:"
DESCRIPTION = "MLmodel"
_REFERENCE = re.compile(r"mlflow:([^/@]{1,200})(?:/([0-9]{1,9})|@([A-Za-z0-9_.-]{1,200}))")


class Reference(msgspec.Struct, frozen=True):
    """A registered model with a version or an alias, one of which is given."""

    name: str
    version: str | None
    alias: str | None


def parse_reference(text: str) -> Reference:
    """`mlflow:NAME/VERSION` or `mlflow:NAME@ALIAS`; RegistryError `unreadable` for anything else."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise RegistryError("unreadable", f"`{text[:100]}` must be written as mlflow:NAME/VERSION or mlflow:NAME@ALIAS")
    return Reference(*found.groups())


def fetched(server: Server, reference: Reference) -> tuple[bytes, str]:
    """The bytes of a model, and where they came from: `mlflow NAME/VERSION`. MlflowError when there is none;
    RegistryError for a pickle, and for a scorecard that is not the one its run logged."""
    version = _version(server, reference)
    where = f"mlflow {reference.name}/{version['version']}"
    query = {"name": reference.name, "version": str(version["version"])}
    uri = str(server.get("model-versions/get-download-uri", **query).get("artifact_uri", ""))
    names = server.artifacts(uri)
    if SCORECARD in names:
        data = server.artifact(uri, SCORECARD)
        _as_logged(server, version, data, where)
        return data, where
    return server.artifact(uri, _file_of(server, uri, names, where)), where


def _version(server: Server, reference: Reference) -> dict[str, object]:
    if reference.version is None:
        found = server.get("registered-models/alias", name=reference.name, alias=reference.alias or "")
    else:
        found = server.get("model-versions/get", name=reference.name, version=reference.version)
    version: dict[str, object] = found["model_version"]
    return version


def _as_logged(server: Server, version: dict[str, object], data: bytes, where: str) -> None:
    """Holds a scorecard against the hash in the tags of its version and of the run that logged it."""
    told = _tag(version.get("tags"))
    if (run_id := version.get("run_id")) and told is None:
        told = _tag(server.get("runs/get", run_id=str(run_id))["run"]["data"].get("tags"))
    name = hashlib.blake2b(data, digest_size=16).hexdigest()
    if told is not None and told != name:
        raise RegistryError(
            "altered", f"the scorecard of {where} was altered in the MLflow store: it was logged as {told} and is now "
            f"{name}; import it from where it was trained, or train it again"
        )  # fmt: skip


def _tag(tags: object) -> str | None:
    if not isinstance(tags, list):
        return None
    return next((str(one.get("value")) for one in tags if one.get("key") == HASH_TAG), None)


def _file_of(server: Server, uri: str, names: tuple[str, ...], where: str) -> str:
    """The file that holds the model as data, by the description that MLflow keeps beside it."""
    if DESCRIPTION not in names:
        raise RegistryError(
            "unreadable", f"{where} holds neither `{SCORECARD}` nor `{DESCRIPTION}`: log it with `mlflow.lightgbm` or "
            "`mlflow.onnx`, or log the scorecard that `opportune train` made"
        )  # fmt: skip
    try:
        found = YAML(typ="safe", pure=True).load(server.artifact(uri, DESCRIPTION).decode())
        flavours = {str(name): dict(told or {}) for name, told in found["flavors"].items()}
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise RegistryError("unreadable", f"the description `{DESCRIPTION}` of {where} cannot be read") from None
    for flavour in ("lightgbm", "onnx"):
        file = str(flavours.get(flavour, {}).get("data", ""))
        if file in names and not file.endswith((".pkl", ".pickle", ".joblib", ".skops")):
            return file
    raise only_python(flavours, where)
