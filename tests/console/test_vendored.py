"""Vendored files are what their lists say, byte for byte, and come with a licence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
LISTS = (ROOT / "src/opportune/doors/console/static/VENDORED.json", ROOT / "tests/vendor/VENDORED.json")


@pytest.mark.parametrize("path", LISTS, ids=str)
def test_every_vendored_file_has_its_hash_and_licence(path: Path) -> None:
    for one in msgspec.json.decode(path.read_bytes()):
        assert hashlib.sha256((path.parent / one["file"]).read_bytes()).hexdigest() == one["sha256"]
        assert (path.parent / one["license_file"]).is_file()
        assert one["license"]
