"""Scaffolding and editor schemas: a new folder loads, and its schemas accept what the loader accepts."""

from pathlib import Path

import jsonschema_rs
import playbook_folders as folders
import pytest

from opportune.adapters.playbook import (
    ScaffoldError,
    load,
    sample_folders,
    scaffold,
    schema_json,
    write_schemas,
)
from opportune.adapters.playbook.nodes import plain_value, read
from opportune.adapters.playbook.schemas import SCHEMA_NAMES

SAMPLES = sorted(sample_folders())


def test_every_kind_of_file_has_a_schema_that_accepts_it(tmp_path: Path) -> None:
    paths = write_schemas(tmp_path)
    assert sorted(path.stem for path in paths) == sorted(SCHEMA_NAMES)
    for name, content in folders.FILES.items():
        collection = {"opportune.yaml": "app", "features": "views"}.get(name.split("/")[0], name.split("/")[0])
        schema = schema_json(collection)
        assert schema["$schema"].endswith("2020-12/schema")
        validator = jsonschema_rs.Draft202012Validator(schema)
        _, node, problems = read(name, content.encode())
        assert node is not None
        assert not problems
        assert [error.message for error in validator.iter_errors(plain_value(node))] == []
        assert not validator.is_valid({"tittle": 1})
    with pytest.raises(ValueError, match="did you mean `offers`"):
        schema_json("offer")


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose samples hold one playbook, `shop`."""
    package = tmp_path / "src/opportune"
    package.mkdir(parents=True)
    monkeypatch.setattr("opportune.__file__", str(package / "__init__.py"))
    source = tmp_path / "samples/shop"
    source.mkdir(parents=True)
    (source / ".opportune").mkdir()
    (source / ".opportune/state.db").write_text("state")
    return folders.write(source)


def test_a_sample_is_copied_into_a_new_folder_that_loads(sample: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    made = scaffold(target, "shop")
    assert load(target).playbook == load(sample).playbook
    first = (target / "offers/seats.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../.schema/offers.json"
    assert (target / "offers" / first.split("=")[1]).resolve() in [path.resolve() for path in made]
    assert not (target / ".opportune").exists()


def test_a_wheel_carries_its_samples_inside(sample: Path, tmp_path: Path) -> None:
    inside = tmp_path / "src/opportune/samples/inner"
    inside.mkdir(parents=True)
    folders.write(inside)
    assert set(sample_folders()) == {"inner", "shop"}


def test_what_stands_in_the_way_is_said(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match="no sample `shopp`; did you mean `shop`"):
        scaffold(tmp_path / "x", "shopp")
    with pytest.raises(ScaffoldError, match=r"no sample `\.\./shop`"):
        scaffold(tmp_path / "x", "../shop")
    with pytest.raises(ScaffoldError, match="is not empty"):
        scaffold(sample, "shop")
    (tmp_path / "file").write_text("")
    with pytest.raises(ScaffoldError, match="is a file"):
        scaffold(tmp_path / "file", "shop")
    (tmp_path / "repo/.git").mkdir(parents=True)
    scaffold(tmp_path / "repo", "shop")
    assert (tmp_path / "repo/opportune.yaml").is_file()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_shipped_sample_loads(name: str) -> None:
    assert load(sample_folders()[name]).playbook.offers
