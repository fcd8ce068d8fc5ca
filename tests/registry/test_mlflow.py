"""MLflow over real HTTP: runs are logged whole or marked failed, models come back as they were, pickles never."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest
from artefacts import card
from mlflow_server import Mlflow, mlflow

from opportune.adapters.mlflow import MlflowError, Server, fetched, log_run, parse_reference, server_of
from opportune.core.models import Scorecard, card_hash, decode_card, encode_card
from opportune.core.registry import RegistryError
from opportune.wiring import tracked

FILES = {"model-card.md": "# Model card\n", "calibration.svg": "<svg/>"}


@pytest.fixture
def there() -> Iterator[tuple[Mlflow, Server]]:
    with mlflow() as (found, address):
        yield found, Server(address)


def logged(server: Server, one: Scorecard | None = None) -> str:
    return log_run(
        server, one or card(), FILES, experiment="opportune tests", by="ada", started_ms=1_000, ended_ms=2_000
    )


def test_a_run_is_logged_with_everything_that_is_known(there: tuple[Mlflow, Server]) -> None:
    found, server = there
    run = found.runs[logged(server)]
    metrics = {one["key"]: one["value"] for one in run["metrics"]}
    params = {one["key"]: one["value"] for one in run["params"]}
    tags = {one["key"]: one["value"] for one in run["tags"]}
    assert metrics == dict(card().training.metrics)
    assert (params["label_window"], params["view.usage"], params["gate.ece_max"]) == ("14d", "1", "0.08 passed")
    assert (tags["opportune.card"], tags["mlflow.user"]) == (card_hash(card()), "ada")
    assert run["datasets"][0]["dataset"]["digest"] == card().training.data_hash
    assert (run["status"], run["start_time"], found.experiments) == ("FINISHED", 1_000, {"opportune tests": "1"})
    assert found.files["1/run1/artifacts/scorecard.json"] == encode_card(card())
    assert found.files["1/run1/artifacts/model-card.md"] == b"# Model card\n"
    assert "1/run1/artifacts/calibration.svg" in found.files
    logged(server, card(2))
    assert ([one["version"] for one in found.versions["accept"]], len(found.experiments)) == (["1", "2"], 1)


def test_many_metrics_go_in_batches_and_what_is_no_number_is_left_out(there: tuple[Mlflow, Server]) -> None:
    found, server = there
    metrics = {f"uplift.offer {n} (é)": float(n) for n in range(250)} | {"worst": float("nan")}
    training = msgspec.structs.replace(card().training, metrics=metrics)
    run = found.runs[logged(server, msgspec.structs.replace(card(), training=training))]
    assert len(run["metrics"]) == 250
    assert {one["key"] for one in run["metrics"]} == {f"uplift.offer {n} ___" for n in range(250)}


def test_a_model_comes_back_as_it_was_logged(there: tuple[Mlflow, Server]) -> None:
    found, server = there
    logged(server)
    logged(server, card(2))
    found.aliases["accept", "champion"] = 1
    data, where = fetched(server, parse_reference("mlflow:accept/2"))
    assert (decode_card(data), where) == (card(2), "mlflow accept/2")
    assert fetched(server, parse_reference("mlflow:accept@champion")) == (encode_card(card()), "mlflow accept/1")
    for text in ("mlflow:accept", "mlflow:accept/", "mlflow:accept/x", "accept/1", "mlflow:a/b/1"):
        with pytest.raises(RegistryError, match="NAME/VERSION"):
            parse_reference(text)
    with pytest.raises(MlflowError, match="404 RESOURCE_DOES_NOT_EXIST"):
        fetched(server, parse_reference("mlflow:accept/9"))


@pytest.mark.parametrize("tagged", ["version", "run"])
def test_a_scorecard_that_was_altered_in_the_store_is_refused(there: tuple[Mlflow, Server], tagged: str) -> None:
    found, server = there
    logged(server)
    if tagged == "run":
        found.versions["accept"][0]["tags"] = []
    file = "1/run1/artifacts/scorecard.json"
    found.files[file] = found.files[file].replace(b'"slope":1.0', b'"slope":2.0')
    with pytest.raises(RegistryError, match="was altered in the MLflow store") as told:
        fetched(server, parse_reference("mlflow:accept/1"))
    assert (told.value.code, "train it again" in str(told.value)) == ("altered", True)


@pytest.mark.parametrize(
    ("description", "files", "says"),
    [
        ("flavors: {python_function: {loader_module: mlflow.sklearn}, sklearn: {pickled_model: model.pkl}}",
         ("model.pkl",), "is kept as python_function, sklearn, which is a pickle"),
        ("flavors: {lightgbm: {data: model.pkl}, python_function: {}}", ("model.pkl",), "which is a pickle"),
        ("flavors: {lightgbm: {data: elsewhere.lgb}}", ("model.pkl",), "which is a pickle"),
        ("flavors: !!python/object/apply:os.system [echo]", ("model.pkl",), "cannot be read"),
        ("flavors: [1, 2]", ("model.pkl",), "cannot be read"),
        (None, ("model.pkl",), "holds neither"),
    ],
)  # fmt: skip
def test_what_runs_code_is_refused(
    there: tuple[Mlflow, Server], description: str | None, files: tuple[str, ...], says: str
) -> None:
    found, server = there
    found.versions["theirs"] = [{"version": "1", "source": "mlflow-artifacts:/7/models/m/artifacts", "run_id": ""}]
    if description is not None:
        found.files["7/models/m/artifacts/MLmodel"] = description.encode()
    for file in files:
        found.files[f"7/models/m/artifacts/{file}"] = pickle.dumps([1])
    with pytest.raises(RegistryError, match=says) as told:
        fetched(server, parse_reference("mlflow:theirs/1"))
    assert (told.value.code, "log" in str(told.value) or "read" in str(told.value)) == ("unreadable", True)


def test_a_booster_is_fetched_as_text(there: tuple[Mlflow, Server]) -> None:
    found, server = there
    found.versions["theirs"] = [{"version": "1", "source": "mlflow-artifacts:/7/models/m/artifacts", "run_id": ""}]
    found.files["7/models/m/artifacts/MLmodel"] = b"flavors: {lightgbm: {data: model.lgb}, python_function: {}}"
    found.files["7/models/m/artifacts/model.lgb"] = b"tree\nversion=v4\n"
    assert fetched(server, parse_reference("mlflow:theirs/1"))[0].startswith(b"tree\n")


def test_a_run_that_breaks_off_is_marked_failed(there: tuple[Mlflow, Server]) -> None:
    found, server = there
    found.broken["runs/log-inputs"] = (500, "INTERNAL_ERROR")
    with pytest.raises(MlflowError, match="500 INTERNAL_ERROR"):
        logged(server)
    assert found.runs["run1"]["status"] == "FAILED"
    assert found.versions == {}


def test_a_call_that_was_cut_off_is_made_once_more(there: tuple[Mlflow, Server]) -> None:
    found, server = there
    found.drops = 1
    assert found.runs[logged(server)]["status"] == "FINISHED"
    found.drops = 2
    with pytest.raises(MlflowError, match="cannot be reached"):
        logged(server)


def test_who_may_not_is_told_which_variables_to_set(there: tuple[Mlflow, Server]) -> None:
    found, server = there
    found.wanted = "Bearer secret-token"
    with pytest.raises(MlflowError, match="MLFLOW_TRACKING_TOKEN") as told:
        logged(server)
    assert "secret" not in str(told.value)
    may = server_of({"MLFLOW_TRACKING_URI": server.address, "MLFLOW_TRACKING_TOKEN": "secret-token"})
    assert may is not None
    assert found.runs[logged(may)]["status"] == "FINISHED"
    found.wanted = "Basic YW5uOnBhc3M="
    basic = server_of(
        {"MLFLOW_TRACKING_URI": server.address.replace("//", "//ann:pass@")}
    )
    assert basic is not None
    assert (found.runs[logged(basic)]["status"], "pass" in basic.shown) == ("FINISHED", False)


def test_where_the_server_is_comes_from_mlflows_own_variable() -> None:
    assert server_of({}) is None
    for address in ("sqlite:///mlflow.db", "file:///tmp/mlruns", "databricks", "./mlruns"):
        with pytest.raises(MlflowError, match="mlflow server"):
            server_of({"MLFLOW_TRACKING_URI": address})


def test_a_server_that_is_down_fails_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as ear:
        ear.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{ear.getsockname()[1]}")
    said = tracked(card(), FILES, "tests", "ada", 1, 2)
    assert said is not None
    assert said.startswith("not logged to MLflow, the model itself is kept")
    assert "opportune models log" in said
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracked(card(), FILES, "tests", "ada", 1, 2) is None


def test_an_address_that_is_something_else_is_said(there: tuple[Mlflow, Server]) -> None:
    found, server = there
    found.files["x/answer"] = b"<html>"
    odd = Server(f"{server.address}/api/2.0/mlflow-artifacts/artifacts/x/answer?")
    with pytest.raises(MlflowError):
        odd.get("experiments/get-by-name", experiment_name="x")
    with pytest.raises(MlflowError, match="--serve-artifacts"):
        server.artifacts("s3://bucket/1/run1/artifacts")


@pytest.mark.torture
def test_a_real_mlflow_server(tmp_path: Path) -> None:
    """`OPPORTUNE_MLFLOW` names an installed `mlflow`; without it one is installed from the package index."""
    program = os.environ.get("OPPORTUNE_MLFLOW")
    if program is None:
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
        subprocess.run([tmp_path / "venv/bin/pip", "install", "-q", "mlflow"], check=True, timeout=900)
        program = str(tmp_path / "venv/bin/mlflow")
    with socket.socket() as ear:
        ear.bind(("127.0.0.1", 0))
        port = ear.getsockname()[1]
    command = [
        program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path}/m.db", "--artifacts-destination", str(tmp_path / "art"),
    ]  # fmt: skip
    with ExitStack() as stack:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        server = Server(f"http://127.0.0.1:{port}")
        until = time.monotonic() + 180
        while True:
            try:
                run = logged(server)
                break
            except MlflowError:
                assert time.monotonic() < until, "MLflow did not start"
                with suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"MLflow ended with {process.wait(0.5)}")
        told = server.get("runs/get", run_id=run)["run"]
        assert told["info"]["status"] == "FINISHED"
        assert {one["key"] for one in told["data"]["metrics"]} == set(card().training.metrics)
        assert told["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == card().training.data_hash
        assert fetched(server, parse_reference("mlflow:accept/1"))[0] == encode_card(card())
        [file] = (tmp_path / "art").rglob("scorecard.json")
        file.write_bytes(file.read_bytes().replace(b'"slope":1.0', b'"slope":2.0'))
        with pytest.raises(RegistryError, match="was altered in the MLflow store"):
            fetched(server, parse_reference("mlflow:accept/1"))


