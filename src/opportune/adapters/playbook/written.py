"""Writes documents into a playbook folder, in the form in which people write them."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

from opportune.core.playbook import Expectation, Scenario

RECORDED = "scenarios/recorded.yaml"
_HEAD = "# Decisions as they were made, as scenarios: `opportune test --from-decision ID` adds one.\nscenarios:\n"


def add_scenario(folder: Path | str, scenario: Scenario) -> Path:
    """Append a scenario to those that came from decisions; returns the file."""
    path = Path(folder) / RECORDED
    path.parent.mkdir(exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    text = text if text.endswith("\n") else text + "\n"
    path.write_text(text + scenario_yaml(scenario), encoding="utf-8")
    return path


def scenario_yaml(scenario: Scenario) -> str:
    """One item of a list of scenarios; what is as when nothing is said is left out."""
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 118
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump([_said(scenario)], stream)
    return stream.getvalue()


def _said(document: Scenario | Expectation) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for field in msgspec.structs.fields(document):
        value = getattr(document, field.name)
        if value is None or (not field.required and value == field.default):
            continue
        if isinstance(value, (dict, tuple)) and not value:
            continue
        said[field.encode_name] = _said(value) if isinstance(value, Expectation) else msgspec.to_builtins(value)
    return said
