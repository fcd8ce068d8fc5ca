"""`train`: what it writes beside the card, other targets, and specs from which nothing can be learned."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from .called import call, change

pytestmark = pytest.mark.slow


@pytest.fixture
def own(company: Path, tmp_path: Path) -> Path:
    """A copy of the company, to change."""
    folder = tmp_path / "copy"
    shutil.copytree(company, folder)
    return folder


def test_a_model_card_with_plots_lies_beside_the_card_and_names_no_customer(own: Path) -> None:
    change(own / "models/expansion.yaml", "segments: [plan, billing]", "segments: [plan]\n    protected: [billing]")
    said = call("train", "expansion", "--playbook", own, "--json")
    assert said.code in (0, 1), said.err
    assert "… fitting on " in said.err
    found = said.json
    folder = Path(found["report_folder"])
    assert folder == own / ".opportune/eu/shelf/reports" / found["card"]
    names = {path.name for path in folder.iterdir()}
    assert names == {"model-card.md", "calibration.svg", "uplift.svg", "effects.svg", "segments.svg"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    card = (folder / "model-card.md").read_text()
    for part in ("# Model card: expansion", "## Segments", "## Treatment of groups", "## Gates", found["data_hash"]):
        assert part in card
    for path in folder.iterdir():
        text = path.read_text()
        assert "cus_" not in text
        assert "acc_" not in text
        assert "@example" not in text
    report = found["report"]
    assert {row["feature"] for row in report["segments"]} == {"plan"}
    assert {row["feature"] for row in report["fairness"]} == {"billing"}
    assert {row["measure"] for row in report["disparities"]} == {"selected", "uplift", "calibration"}
    assert found["metrics"]["fairness_selected"] >= found["metrics"]["fairness_selected_low"]
    assert found["left_out"]["label window not over"] > 0


def test_another_target_is_a_line_of_the_spec(own: Path) -> None:
    change(own / "models/expansion.yaml", "target: uplift", "target: acceptance")
    change(own / "models/expansion.yaml", "{rows_min: 2000, qini_min: 0.0, ece_max: 0.08}", "{rows_min: 100}")
    said = call("train", "expansion", "--playbook", own, "--json")
    assert said.code == 0, said.err
    found = said.json
    assert (found["target"], found["approved"]) == ("acceptance", True)
    assert "qini" not in found["metrics"]
    assert found["left_out"]["not offered"] > 0
    assert not (Path(found["report_folder"]) / "uplift.svg").exists()


def test_a_setting_that_an_algorithm_does_not_have_is_named_at_its_place(own: Path) -> None:
    change(
        own / "models/expansion.yaml", "target: uplift", "target: uplift\n    algorithm: dr_learner\n"
        "    settings: {num_leafs: 9}",
    )  # fmt: skip
    for command in (("train", "expansion"), ("check",)):
        said = call(*command, "--playbook", own)
        assert said.code == 2 if command[0] == "train" else said.code != 0
        text = said.err + said.out
        assert "models/expansion.yaml:5:5: setting `num_leafs` is unknown: did you mean `num_leaves`?" in text
    assert not (own / ".opportune/eu/shelf/reports").exists()


def test_a_gate_that_no_model_of_the_target_can_meet_is_found_before_it_is_trained(own: Path) -> None:
    change(own / "models/expansion.yaml", "qini_min: 0.0", "qinni_min: 0.0")
    said = call("train", "expansion", "--playbook", own)
    assert said.code == 2
    assert "asks for `qinni`, which a model of uplift does not have; did you mean `qini_min`?" in said.err
