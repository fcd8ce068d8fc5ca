"""Adaptive beliefs over HTTP: what is believed follows what is posted."""

from __future__ import annotations

from pathlib import Path

from door import served


def test_what_is_believed_follows_what_is_posted(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        before = door.get("/v1/adaptive").json()
        assert (before["enabled"], before["ready"], before["beliefs"]) == (True, True, [])
        _, answer = door.offered()
        offer, id_ = answer["offer"]["id"], answer["decision_id"]
        for kind in ("delivered", "converted"):
            assert door.post("/v1/outcomes", {"decision": id_, "kind": kind, "amount": 10.0}).status == 200
        found = door.get(f"/v1/adaptive?offer={offer}").json()
        (row,) = [one for one in found["beliefs"] if one["shown"]]
        assert (row["offer"], row["channel"], row["shown"], row["bought"]) == (offer, "in_app", 1, 1)
        low, high = row["p_accept_interval"]
        assert 0.0 <= low < row["p_accept"] < high <= 1.0
        assert row["share"] == 1.0
        (delays,) = [one for one in found["delays"] if one["purchases"]]
        assert delays["by_day"][0] == [0.0, 0.0]
        assert delays["by_day"][-1][1] == 1.0
        code, fields, said = door.get("/v1/adaptive?offer=nothing").problem(404)
        assert (code, fields) == ("unknown-offer", ["offer"])
        assert "no such offer" in said
