"""Limits over HTTP: what is allowed, and what is used of what everybody shares."""

from __future__ import annotations

from pathlib import Path

from door import served


def test_every_limit_is_listed_with_what_is_left(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        found = {one["limit"]: one for one in door.get("/v1/limits").json()["limits"]}
        assert (found["email.weekly"]["of"], found["email.weekly"]["used"]) == ("person", None)
        shared = found["limits.mail_volume"]
        assert (shared["at_most"], shared["group"], shared["owner"]) == (20_000, "email", "growth")
        assert shared["used"] == {"delivered": 0, "reserved": 0, "left": 20_000}
