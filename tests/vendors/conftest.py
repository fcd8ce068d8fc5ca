"""The sample behind the vendors' doors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .vendor_room import Room, sample


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path, sample())
    yield room
    room.close()
