"""An entry is one exact spelling of codes and a commitment; personal values have no way in."""

from hashlib import sha256
from typing import Any

import pytest

from opportune.core.ledger import LedgerError, commitment, entry

SALT = bytes(range(32))
FIELDS: dict[str, Any] = {
    "entry_id": "0190f5a0-7d2c-7b1e-8a1f-000000000001",
    "ts_ms": 1_790_000_000_000,
    "kind": "decision",
    "region": "eu-1",
    "actor": "system:decide",
}


def test_the_bytes_are_compact_json_with_sorted_keys() -> None:
    commit = commitment(SALT, b"private")
    codes: dict[str, Any] = {
        "reasons": ["TOP_VALUE"],
        "policy": "billing.cap@3fa91c2b",
        "count": 3,
        "degraded": False,
    }
    expected = (
        '{"actor":"system:decide","commit":"' + commit + '","count":3,"degraded":false,'
        '"id":"0190f5a0-7d2c-7b1e-8a1f-000000000001","policy":"billing.cap@3fa91c2b","reasons":["TOP_VALUE"],'
        '"region":"eu-1","release":"sha256:abcd","ts":1790000000000,"type":"decision","v":1}'
    )

    assert entry(**FIELDS, release="sha256:abcd", commit=commit, codes=codes) == expected.encode()


def test_what_does_not_apply_is_left_out() -> None:
    assert b"release" not in entry(**FIELDS)
    assert b"commit" not in entry(**FIELDS)


def test_the_commitment_is_the_documented_hash() -> None:
    expected = sha256(b"opportune/audit/v1" + SALT + b"private").hexdigest()

    assert commitment(SALT, b"private") == expected
    with pytest.raises(LedgerError, match="32 bytes"):
        commitment(b"short", b"private")


@pytest.mark.parametrize(
    "value",
    ["ada@example.com", "Ada Lovelace", "+49 30 1234567", "+49301234567", "", "na\u00efve", "x" * 201, None, 1.5,
     {"a": "b"}, ["fine", "not fine"]],
)  # fmt: skip
def test_what_is_not_a_code_is_refused_and_not_repeated(value: Any) -> None:
    with pytest.raises(LedgerError, match="`note`") as refusal:
        entry(**FIELDS, codes={"note": value})

    assert not isinstance(value, str) or not value or value not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"actor": "ada@example.com"}, "`actor`"),
        ({"ts_ms": 1.5}, "`ts`"),
        ({"ts_ms": -1}, "`ts`"),
        ({"commit": "AB" * 32}, "`commit`"),
        ({"codes": {"type": "other"}}, "`type` is reserved"),
        ({"codes": {"CamelCase": "x"}}, "snake case"),
        ({"codes": {f"code{n}": "x" * 200 for n in range(30)}}, "limit is 4096"),
    ],
)
def test_a_malformed_entry_is_refused_by_field(change: dict[str, Any], why: str) -> None:
    with pytest.raises(LedgerError, match=why):
        entry(**{**FIELDS, **change})
