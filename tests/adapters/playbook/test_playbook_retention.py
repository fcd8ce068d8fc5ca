"""Periods of retention are checked at their place, with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from opportune.adapters.playbook import PlaybookError, load, scaffold


def test_a_period_that_is_none_is_named_at_its_place(tmp_path: Path) -> None:
    scaffold(tmp_path / "book", "saas")
    file = tmp_path / "book" / "opportune.yaml"
    text = file.read_text()
    assert "privacy:" not in text
    file.write_text(text + "\nprivacy:\n  retention: {personal: 3y, access: 90 days}\n")
    with pytest.raises(PlaybookError) as caught:
        load(tmp_path / "book")
    (problem,) = caught.value.problems
    line = len(file.read_text().splitlines())
    assert str(problem).startswith(f"opportune.yaml:{line}:37: `90 days` is not a period")
    assert str(problem).endswith("did you mean `90d`?")
    file.write_text(text + "\nprivacy:\n  retention: {personal: 3y, access: 90d}\n")
    assert load(tmp_path / "book").playbook.app.privacy.retention == {"personal": "3y", "access": "90d"}
