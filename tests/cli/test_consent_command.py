"""`consent`: what is said, shown and written as a receipt; a mistyped name never becomes a permission."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .called import call
from .test_deciding_commands import event, written

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""


@pytest.fixture
def known(playbook: Path, tmp_path: Path) -> Path:
    """A playbook with one customer, `ann`."""
    call("ingest", written(tmp_path, event("1")), "--playbook", playbook)
    return playbook


def test_what_is_said_is_shown_with_its_basis(known: Path) -> None:
    said = call(
        "consent", "ann", "give", "--channel", "email", "--basis", "contract", "--evidence", "a call",
        "--notice", "privacy-3", "--playbook", known,
    )  # fmt: skip
    assert said.code == 0, said
    rows = call("consent", "ann", "show", "--playbook", known, "--json").json["consents"]
    row = rows["marketing/email"]
    assert (row["status"], row["basis"], row["notice"]) == ("given", "contract", "privacy-3")
    assert row["evidence"] == "•••"
    assert rows["marketing/in_app"]["status"] == "unknown"
    assert "unknown means no" in call("consent", "ann", "show", "--playbook", known).out


def test_an_objection_ends_everything(known: Path) -> None:
    call("consent", "ann", "give", "--playbook", known)
    assert call("consent", "ann", "withdraw", "--purpose", "*", "--playbook", known).code == 0
    rows = call("consent", "ann", "show", "--playbook", known, "--json").json["consents"]
    assert rows["marketing/in_app"]["status"] == "withdrawn"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--purpose", "marketting"), "`--purpose`: no purpose of the playbook is called `marketting`: did you mean"),
        (("--purpose", "*"), "`--purpose`: `*` cannot be permitted"),
        (("--channel", "emial"), "`--channel`: no channel of the playbook is called `emial`: did you mean `email`?"),
        (("--basis", "because"), "`--basis`: `because` is no legal basis"),
        (("--expires", "soon"), "`--expires`"),
        (("--out", "x.json"), "`--out` goes with `receipt`"),
    ],
)
def test_a_name_that_is_not_known_is_bad_input(known: Path, options: tuple[str, ...], words: str) -> None:
    said = call("consent", "ann", "give", *options, "--playbook", known)
    assert said.code == 2
    assert words in said.err
    rows = call("consent", "ann", "show", "--playbook", known, "--json").json["consents"]
    assert {row["status"] for row in rows.values()} == {"unknown"}


def test_a_receipt_is_written_to_a_file(known: Path, tmp_path: Path) -> None:
    call("consent", "ann", "give", "--channel", "email", "--evidence", "a call", "--playbook", known)
    out = tmp_path / "receipt.jsonld"
    assert call("consent", "ann", "receipt", "--out", out, "--playbook", known).code == 0
    receipt = json.loads(out.read_text())
    (record,) = receipt["dpv:hasRecordOfActivity"]
    (one,) = record["dpv:hasConsentStatus"]
    assert (one["@type"], one["dpv:hasIndicationMethod"]) == ("dpv:ConsentGiven", "a call")
    assert one["opp:ledger"]["proof"].startswith("c2sp.org/tlog-proof@v1")
    assert json.loads(call("consent", "ann", "receipt", "--playbook", known).out)["@type"] == "dpv:ConsentReceipt"
    assert call("consent", "nobody", "receipt", "--playbook", known).code == 2
