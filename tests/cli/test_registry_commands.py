"""`train`, `approve`, `models …`, `release`: a model on its way, and everything that is refused with what to do."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from .called import call, change

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


@pytest.fixture(scope="module")
def trained(company: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the company with a model that passed lenient gates, trained by ada; its hash."""
    folder = tmp_path_factory.mktemp("registry") / "playbook"
    shutil.copytree(company, folder)
    model = folder / "models/expansion.yaml"
    change(model, "gates: {rows_min: 2000, qini_min: 0.0, ece_max: 0.08}", "gates: {rows_min: 100, ece_max: 0.9}")
    said = call("train", "expansion", "--by", "ada", "--playbook", folder, "--json")
    assert said.code == 0, said.err
    return folder, said.json["card"]


@pytest.fixture
def there(trained: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "playbook"
    shutil.copytree(trained[0], folder)
    return folder, trained[1]


def approved(folder: Path, name: str) -> None:
    said = call("approve", name[:10], "--by", "dana", "--reason", "it holds", "--playbook", folder, "--json")
    assert (said.code, said.json["stage"]) == (0, "approved"), said.err


def refused(folder: Path, *command: object) -> str:
    """What a command says that is refused."""
    said = call(*command, "--playbook", folder)
    assert said.code == 2, (said.out, said.err)
    assert "Traceback" not in said.err
    return said.err


def test_from_training_to_live(there: tuple[Path, str]) -> None:
    folder, name = there
    [line] = call("models", "--playbook", folder, "--json").json
    assert (line["card"], line["stage"], line["authors"]) == (name, "proposed", ["ada"])
    before = call("release", "--playbook", folder, "--json").json
    assert (before["models"], "opportune approve" in before["left_out"][name]) == ([], True)
    assert "cannot be released" in refused(folder, "release", "--model", name)
    approved(folder, name)
    made = call("release", "--playbook", folder, "--json").json
    assert made["models"] == ["expansion"]
    assert call("promote", made["release"], "--why", "it is better", "--playbook", folder).code == 0
    found = call("models", "history", "expansion", "--playbook", folder, "--json").json
    assert [event["kind"] for event in found["history"]] == ["proposed", "validated", "approved"]
    assert [(span["release"], span["to"], span["why"]) for span in found["live"]] == [
        (made["release"], None, "it is better")
    ]
    assert "● live" in call("models", "--playbook", folder).out
    shown = call("models", "show", name[:8], "--playbook", folder)
    assert "# Model card: expansion" in shown.out
    assert "is live: put another release" in refused(folder, "models", "retire", name, "--by", "ada", "--reason", "old")
    assert call("audit", "verify", "--playbook", folder).code == 0


@pytest.mark.parametrize(
    ("by", "reason", "says"),
    [("ada", "good", "takes compliance or model_approver"), ("eve", "good", "not under `people`"),
     ("dana", " ", "--reason TEXT")],
)  # fmt: skip
def test_who_may_not_approve_is_told_why(there: tuple[Path, str], by: str, reason: str, says: str) -> None:
    assert says in refused(there[0], "approve", "expansion", "--by", by, "--reason", reason)


def test_an_author_who_may_approve_may_not_approve_their_own(there: tuple[Path, str]) -> None:
    folder, name = there
    change(folder / "opportune.yaml", "ada: [model_owner]", "ada: [model_owner, model_approver]")
    assert "somebody else has to approve it" in refused(folder, "approve", name, "--by", "ada", "--reason", "mine")


def test_a_refused_model_is_never_released(there: tuple[Path, str]) -> None:
    folder, name = there
    approved(folder, name)
    said = call("models", "refuse", name, "--by", "lee", "--reason", "unfair", "--playbook", folder)
    assert (said.code, "is refused" in said.out) == (0, True)
    assert "was refused by `lee` (unfair)" in refused(folder, "release", "--model", name)


def test_a_file_of_the_shelf_that_was_altered_is_refused(there: tuple[Path, str]) -> None:
    folder, name = there
    approved(folder, name)
    change(folder / ".opportune/eu/shelf/models" / name, '"slope":', '"slope":1')
    said = refused(folder, "release")
    assert "was altered after it was stored" in said
    assert "restore the file from a backup, or remove it and train" in said
    [line] = call("models", "--playbook", folder, "--json").json
    assert (line["stage"], line["approvals"]) == ("voided", [])
    assert "altered" in refused(folder, "approve", name, "--by", "lee", "--reason", "again")


def test_a_release_row_that_was_altered_is_refused_and_another_takes_its_place(there: tuple[Path, str]) -> None:
    folder, name = there
    approved(folder, name)
    made = call("release", "--playbook", folder, "--json").json["release"]
    assert call("promote", made, "--playbook", folder).code == 0
    with sqlite3.connect(folder / ".opportune/eu/records.db") as store:
        [(manifest,)] = store.execute("SELECT manifest FROM releases WHERE hash = ?", (made,)).fetchall()
        store.execute(
            "UPDATE releases SET manifest = ? WHERE hash = ?", (manifest.replace(b'"slope":', b'"slope":1', 1), made)
        )
    store.close()
    for command in (("decide", "nobody", "--moment", "page.pricing_viewed"), ("promote", made)):
        said = refused(folder, *command)
        assert f"release `{made}` was altered in the store" in said
        assert "opportune release" in said
    assert call("rollback", "--playbook", folder).code == 0


def test_pickles_and_nonsense_are_not_imported(there: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = there
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"weights": [1.0]}))
    said = refused(folder, "models", "import", file, "--by", "ada")
    assert "is a Python pickle, which can run any code when it is opened" in said
    assert "LightGBM text" in said
    file.write_bytes(b'{"v": 1}')
    assert "not a scorecard" in refused(folder, "models", "import", file, "--by", "ada")
    assert "there is no file" in refused(folder, "models", "import", tmp_path / "none", "--by", "ada")
    assert "MLFLOW_TRACKING_URI" in refused(folder, "models", "import", "mlflow:expansion/1", "--by", "ada")
    assert "MLFLOW_TRACKING_URI" in refused(folder, "models", "log", "expansion")


def test_a_model_that_is_imported_needs_an_approval_of_its_own(there: tuple[Path, str], tmp_path: Path) -> None:
    folder, name = there
    approved(folder, name)
    other = tmp_path / "card.json"
    other.write_bytes((folder / ".opportune/eu/shelf/models" / name).read_bytes())
    change(other, '"owner":"data"', '"owner":"sales"')
    said = call("models", "import", other, "--by", "lee", "--reason", "from sales", "--playbook", folder, "--json")
    assert (said.code, said.json["stage"], said.json["approvals"]) == (0, "validated", []), said.err
    assert said.json["card"] != name
    assert "cannot be released" in refused(folder, "release", "--model", said.json["card"])
    assert "somebody else" in refused(folder, "approve", said.json["card"], "--by", "lee", "--reason", "mine")


def test_a_booster_is_judged_on_the_regions_own_rows(there: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = there
    rows = np.random.default_rng(1).normal(size=(400, 2))
    told = (rows[:, 0] > 0.0).astype(int)
    data = lightgbm.Dataset(rows, told, feature_name=["seat_ratio", "seats"])
    settings = {"objective": "binary", "num_leaves": 8, "num_threads": 1, "verbose": -1}
    lightgbm.train(settings, data, 10).save_model(tmp_path / "model.txt")
    assert "--model" in refused(folder, "models", "import", tmp_path / "model.txt", "--by", "ada")
    said = refused(folder, "models", "import", tmp_path / "model.txt", "--by", "ada", "--model", "expansion")
    assert "`target` is acceptance, churn_risk or fatigue" in said
    with (folder / "models/expansion.yaml").open("a") as file:
        file.write(
            "  - model: readiness\n    target: acceptance\n    owner: data\n    features: [seat_ratio, seats]\n"
            "    gates: {rows_min: 10}\n"
        )
    asked = ("models", "import", tmp_path / "model.txt", "--by", "ada", "--model", "readiness")
    found = call(*asked, "--playbook", folder, "--json")
    assert (found.code, found.json["stage"]) == (0, "validated"), found.err
    [line] = [one for one in call("models", "--playbook", folder, "--json").json if one["model"] == "readiness"]
    assert line["rows"] > 10
    assert line["metrics"]["ece"] >= 0.0
