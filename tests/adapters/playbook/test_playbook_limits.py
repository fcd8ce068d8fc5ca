"""Limits in a playbook's files: what is wrong is found at its line, with the name that was probably meant."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from opportune.adapters.playbook.examine import examine

SAMPLE = Path(__file__).parents[3] / "samples/saas"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("channels: [email]\n    owner", "channels: [emial]\n    owner", "unknown channel `emial`"),
        ("    at_most: 20000\n", "    amount: 20000\n    at_most: 20000\n", "either `at_most`"),
        ("    of: everyone\n", "    of: person\n", "no more than 1000 contacts"),
        ("    of: everyone\n", "    of: everybody\n", "everybody"),
        ("    per: 1d\n", "    per: daily\n", "`daily` is not a duration"),
        ("    per: 1d\n", "", "the period is missing"),
    ],
)
def test_a_limit_that_is_wrong_is_named_with_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    folder = tmp_path / "playbook"
    copytree(SAMPLE, folder)
    file = folder / "opportune.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    found = [one for one in examine(folder).problems if words in str(one)]
    assert found, examine(folder).problems
    assert found[0].file == "opportune.yaml"
    first = text.splitlines().index("limits:") + 1
    assert first < found[0].line < first + 11
