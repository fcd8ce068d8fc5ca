"""`--region`: every command that opens a region takes it, and two regions are written side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from opportune.doors.cli.app import build
from opportune.main import Machine

from .called import call, change

pytestmark = pytest.mark.slow

NEED_NONE = {"check", "test", "demo", "init", "policies list", "policies test"}


@pytest.fixture
def two(playbook: Path) -> Path:
    change(playbook / "opportune.yaml", "region: eu\n", "region: eu\nregions: [eu, us] # two\n")
    return playbook


def test_every_command_on_a_playbook_takes_a_region() -> None:
    found = typer.main.get_command(build())
    commands = dict(found.commands)  # type: ignore[attr-defined]
    for name, one in list(commands.items()):
        commands |= {f"{name} {inner}": command for inner, command in getattr(one, "commands", {}).items()}
    options = {name: {o for p in one.params for o in p.opts} for name, one in commands.items()}
    without = {name for name, given in options.items() if "--playbook" in given and "--region" not in given}

    assert without <= NEED_NONE


@pytest.mark.parametrize(
    ("settings", "regions"),
    [
        ("region: eu\n", ("eu",)),
        ("region: us # home\nregions: [ us,eu-1 ]\n", ("us", "eu-1")),
        ("region: eu\nregions:\n  - eu\n  - us # far\n", ("eu", "us")),
        ("region: eu\nregions: # all\n- us\n- eu\n", ("us", "eu")),
        ('region: eu\nregions: ["eu", \'us\']\n', ("eu", "us")),
    ],
)
def test_the_regions_are_read_however_the_list_is_written(
    playbook: Path, settings: str, regions: tuple[str, ...]
) -> None:
    change(playbook / "opportune.yaml", "region: eu\n", settings)
    place = Machine().place(playbook)

    assert place.regions == regions
    assert place.home == place.region == settings.split()[1]
    for region in regions:
        assert Machine().place(playbook, region).region == region


def test_an_unknown_region_is_bad_input_that_names_the_known_ones(two: Path) -> None:
    said = call("releases", "--playbook", two, "--region", "mars")

    assert said.code == 2
    assert said.err.strip() == "`--region mars` is no region of the playbook: it has eu, us"


def test_each_region_has_its_own_store_release_lock_and_keys(two: Path) -> None:
    assert call("release", "--playbook", two).code == 0
    assert call("releases", "--playbook", two, "-r", "us").code == 2
    machine = Machine()
    eu, us = machine.place(two), machine.place(two, "us")
    with machine.writing(eu):
        assert call("release", "--playbook", two, "-r", "us").code == 0
        refused = call("release", "--playbook", two)
        assert refused.code == 2
        assert "another process works on" in refused.err
    assert (us.stores / "writer.lock").exists()
    assert call("releases", "--playbook", two, "-r", "us", "--json").json["live"] is None
    _, home = machine.keys(eu)
    _, other = machine.keys(us)
    assert eu.keys_file == two / ".opportune/api_keys.json"
    assert us.keys_file == two / ".opportune/us/api_keys.json"
    assert home["api_key"].startswith("opp_eu_")
    assert other["write_key"].startswith("wk_us_")
    assert oct(us.keys_file.stat().st_mode & 0o777) == "0o600"


def test_doctor_looks_at_the_keys_of_every_region(two: Path) -> None:
    machine = Machine()
    for region in ("eu", "us"):
        machine.keys(machine.place(two, region))
    found = {one["name"]: one for one in call("doctor", "--playbook", two, "--json").json["checks"]}
    assert "of 2 regions" in found["keys"]["found"]

    file = machine.place(two, "us").keys_file
    file.chmod(0o644)
    said = call("doctor", "--playbook", two, "--json")
    found = {one["name"]: one for one in said.json["checks"]}
    assert said.code == 1
    assert str(file) in found["keys"]["fix"]
