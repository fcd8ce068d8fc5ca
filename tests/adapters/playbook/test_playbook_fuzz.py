"""Whatever happens to a file, the loader answers with a playbook or with problems that have a place."""

import random
import tempfile
from pathlib import Path

import playbook_folders as folders
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opportune.adapters.playbook import PlaybookError, load

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

PIECES = [
    "", " ", "\n", "\t", ":", "- ", "[", "]", "{", "}", "*a", "&a ", "!!int ", "!x ", "|", ">-\n", "'", '"', "#",
    "null", "true", "1e999", "-1", "99999999999999999999999", ".nan", "<<: ", "? ", "%YAML 1.1\n", "---\n", "...\n",
    "\x00", "\x07", "\x85", "\u2028", "\ufeff", "é", "\\", "~", "[]", "{}", "0x1F", "1_0", "2026-01-01", "@", "`",
    "\r", "a" * 300, '"\\ud800"', '"\\U00110000"', "@a: ", "offers:", "!<tag:x> ",
]  # fmt: skip


def mutated(text: str, seed: int) -> str:
    """The text after one to four random changes to its characters, words or lines."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        lines = text.split("\n")
        at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        index = chance.randrange(len(text) + 1)
        match chance.randrange(7):
            case 0:
                del lines[at]
                text = "\n".join(lines) or "\n"
            case 1:
                lines[at], lines[other] = lines[other], lines[at]
                text = "\n".join(lines)
            case 2:
                key, colon, value = lines[at].partition(":")
                lines[at] = f"{key}{colon} {chance.choice(PIECES)}" if chance.random() < 0.5 else f"{key}x:{value}"
                text = "\n".join(lines)
            case 3:
                lines[at] = " " * chance.randrange(9) + lines[at].lstrip()
                text = "\n".join(lines)
            case 4:
                text = text[:index] + chance.choice(PIECES) + text[index:]
            case 5:
                text = text[:index] + text[index + chance.randrange(1, 12) :]
            case _:
                lines.insert(at, lines[other])
                text = "\n".join(lines)
    return text


def assert_answers(folder: Path) -> None:
    """It loads, and every field can be found; or every problem has a file, a line and a sentence."""
    try:
        loaded = load(folder)
    except PlaybookError as error:
        problems = error.problems
    else:
        for policy in loaded.playbook.policies:
            for column in (1, 7, 999):
                assert loaded.marks.where("policies", policy.id, "when", line=column, column=column).line >= 1
        return
    assert problems
    for problem in problems:
        assert problem.file
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message
        assert "\n" not in str(problem)


@pytest.mark.parametrize("name", sorted(folders.FILES))
def test_a_mutated_file_loads_or_is_explained(name: str, tmp_path: Path) -> None:
    folders.write(tmp_path)
    for seed in range(25):
        (tmp_path / name).write_text(mutated(folders.FILES[name], seed), encoding="utf-8")
        assert_answers(tmp_path)


@settings(max_examples=50, deadline=None, database=None)
@given(name=st.sampled_from(sorted(folders.FILES)), start=st.integers(0, 400), garbage=st.binary(max_size=24))
def test_garbage_bytes_load_or_are_explained(name: str, start: int, garbage: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = folders.write(Path(place))
        content = folders.FILES[name].encode()
        (folder / name).write_bytes(content[:start] + garbage + content[start + len(garbage) // 2 :])
        assert_answers(folder)


@settings(max_examples=60, deadline=None, database=None)
@given(text=st.text(alphabet=":-[]{}|>'\"#&*!%@`,? \n\ta1.~", max_size=60))
def test_a_file_of_yaml_signs_loads_or_is_explained(text: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = folders.write(Path(place))
        (folder / "models/expansion.yml").write_text(text, encoding="utf-8")
        assert_answers(folder)
