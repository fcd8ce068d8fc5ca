"""Logs a training run to an MLflow server: parameters, metrics, the data's hash, the scorecard and its model card."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from opportune.adapters.mlflow.rest import MlflowError, Server
from opportune.core.models import Scorecard, card_hash, encode_card

SCORECARD = "scorecard.json"
HASH_TAG = "opportune.card"
"""The tag of a run that holds the hash of its scorecard; an import holds the file against it."""

BATCH_MAX = 100
VALUE_CHARS_MAX = 5_000
_KEY = re.compile(r"[^A-Za-z0-9_./ -]")


def log_run(
    server: Server, card: Scorecard, files: Mapping[str, str], *, experiment: str, by: str, started_ms: int,
    ended_ms: int,
) -> str:  # fmt: skip
    """One finished run with the scorecard and these files (the model card and its plots), registered as a version of
    a model of the card's name; the run's id. MlflowError.

    A run that is broken off half-way is marked FAILED, so that nobody takes it for whole.
    """
    name = card_hash(card)
    run = server.post(
        "runs/create",
        {
            "experiment_id": _experiment(server, experiment), "run_name": f"{card.model} {name[:12]}",
            "start_time": started_ms,
            "tags": _pairs({HASH_TAG: name, "opportune.model": card.model, "opportune.owner": card.owner,
                            "opportune.spec": card.spec_hash, "mlflow.user": by}),
        },
    )["run"]["info"]  # fmt: skip
    run_id, uri = str(run["run_id"]), str(run["artifact_uri"])
    try:
        _log(server, run_id, card, started_ms)
        server.put_artifact(uri, SCORECARD, encode_card(card))
        for file, text in files.items():
            server.put_artifact(uri, file, text.encode())
        _register(server, card.model, run_id, uri, name)
        server.post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": ended_ms})
    except MlflowError:
        _give_up(server, run_id, ended_ms)
        raise
    return run_id


def _log(server: Server, run_id: str, card: Scorecard, at_ms: int) -> None:
    training = card.training
    metrics = [
        {"key": _KEY.sub("_", key), "value": value, "timestamp": at_ms, "step": 0}
        for key, value in training.metrics.items() if math.isfinite(value)
    ]  # fmt: skip
    for batch in _batches(metrics):
        server.post("runs/log-batch", {"run_id": run_id, "metrics": batch})
    for batch in _batches(_pairs(_parameters(card))):
        server.post("runs/log-batch", {"run_id": run_id, "params": batch})
    digest = training.data_hash[:36]
    source = msgspec.json.encode({"from_ms": training.from_ms, "to_ms": training.to_ms}).decode()
    dataset = {"name": f"{card.model} training rows", "digest": digest, "source_type": "opportune", "source": source}
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    server.post("runs/log-inputs", {"run_id": run_id, "datasets": [{"tags": tags, "dataset": dataset}]})


def _parameters(card: Scorecard) -> Mapping[str, str]:
    training = card.training
    found = {
        "algorithm": training.algorithm, "target": card.target, "form": card.form, "trainer": training.trainer,
        "label_window": training.label_window, "rows": training.rows, "rows_fit": training.rows_fit,
        "rows_calibrate": training.rows_calibrate, "rows_evaluate": training.rows_evaluate,
        "features": ",".join(table.name for table in card.features),
        "offers": ",".join(heads.offer for heads in card.offers), "data_hash": training.data_hash,
    }  # fmt: skip
    found |= {f"view.{name}": version for name, version in training.feature_views.items()}
    found |= {f"setting.{name}": value for name, value in training.settings.items()}
    found |= {f"gate.{one.gate}": f"{one.limit:g} {'passed' if one.passed else 'failed'}" for one in training.gates}
    return {name: str(value) for name, value in found.items()}


def _register(server: Server, model: str, run_id: str, uri: str, name: str) -> None:
    """A version of the registered model of this name, which is made when there is none."""
    try:
        server.post("registered-models/create", {"name": model})
    except MlflowError as error:
        if error.code != "RESOURCE_ALREADY_EXISTS":
            raise
    body = {"name": model, "source": uri, "run_id": run_id, "tags": _pairs({HASH_TAG: name})}
    server.post("model-versions/create", body)


def _experiment(server: Server, name: str) -> str:
    try:
        return str(server.get("experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"])
    except MlflowError as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return str(server.post("experiments/create", {"name": name})["experiment_id"])


def _give_up(server: Server, run_id: str, ended_ms: int) -> None:
    try:
        server.post("runs/update", {"run_id": run_id, "status": "FAILED", "end_time": ended_ms})
    except MlflowError:
        # The reason why it is given up is told already, and is likely the same.
        return


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": _KEY.sub("_", key), "value": value[:VALUE_CHARS_MAX]} for key, value in values.items()]


def _batches(values: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(values), BATCH_MAX):
        yield values[start : start + BATCH_MAX]
