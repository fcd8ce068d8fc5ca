"""Questions over HTTP: answers that are recorded and proven, previews that write nothing, keys that answer once."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from door import Door, event, question, served

from opportune.core.decisions.grants import check_grant
from opportune.verifier import verify_commit, verify_log, verify_proof

UNKNOWN_ID = "01940000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with served(tmp_path_factory.mktemp("deciding")) as found:
        yield found


def test_a_real_customer_gets_an_offer_with_reasons(door: Door) -> None:
    who, answer = door.offered()
    assert (answer["customer"], answer["moment"], answer["channel"]) == (who, "usage.limit_reached", "in_app")
    assert answer["offer"]["title"]
    assert answer["offer"]["headline"]
    assert answer["grant"].count(".") == 1
    assert answer["release"] == door.region.records.live()
    assert answer["explanation"].keys() == {"customer", "agent", "auditor"}
    assert all(answer["explanation"].values())
    assert answer["policies"]
    assert answer["timings_us"].keys() >= {"admit", "snapshot", "assign", "shortlist", "score", "choose"}
    stored = door.region.records.decision(answer["decision_id"])
    assert stored is not None
    assert stored.offer == answer["offer"]["id"]


def test_a_stranger_checks_the_grants_with_the_key_alone(door: Door) -> None:
    text = door.get("/v1/grants/key").json()["public_key"]
    key = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(text + "="))

    def verify(signature: bytes, message: bytes) -> bool:
        key.verify(signature, message)
        return True

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for _, answer in pool.map(lambda _: door.offered(), range(16))]
    for answer in answers:
        claims = check_grant(answer["grant"], verify, door.region.clock.now_ms())
        assert (claims.decision, claims.customer) == (answer["decision_id"], answer["customer"])
        assert (claims.offer, claims.channel) == (answer["offer"]["id"], answer["channel"])


def test_a_customer_may_be_named_by_email_however_it_is_spelt(door: Door) -> None:
    who = door.customer()
    asked = {**question(who), "customer": {"email": f" {who.upper()}@Example.com"}}
    assert door.post("/v1/decisions", asked).json()["customer"] == who
    nobody = door.post("/v1/decisions", {**asked, "customer": {"email": "nobody@example.com"}})
    assert nobody.problem(404)[:2] == ("unknown-customer", ["customer"])


def test_an_unknown_customer_is_a_clear_404(door: Door) -> None:
    code, fields, said = door.decide("nobody").problem(404)
    assert (code, fields) == ("unknown-customer", ["customer"])
    assert "send one first" in said
    assert door.get("/v1/customers/nobody").problem(404)[0] == "unknown-customer"


def test_withdrawn_consent_holds_from_the_next_decision_on(door: Door) -> None:
    who = door.customer()
    assert door.post("/v1/decisions/preview", question(who)).json()["disposition"] == "offered"
    shown = door.send("PUT", f"/v1/customers/{who}/consents", {"status": "withdrawn"})
    assert shown.status == 200, shown
    assert shown.json()["consents"]["marketing/*"]["status"] == "withdrawn"
    answer = door.decide(who).json()
    assert (answer["disposition"], answer["reason"]) == ("no_offer", "NO_CONSENT")
    assert answer["offer"] is None
    assert "grant" not in answer
    assert [rule["id"] for rule in answer["policies"]][:1] == ["consent.marketing"]
    assert "consent is withdrawn" in answer["explanation"]["agent"]
    for fate in door.get(f"/v1/decisions/{answer['decision_id']}").json()["candidates"]:
        if fate["channel"] == "in_app":
            assert fate["rule"] == "consent.marketing"
    given = {"status": "given", "channels": ["in_app"]}
    assert door.send("PUT", f"/v1/customers/{who}/consents", given).status == 200
    assert door.decide(who).json()["disposition"] == "offered"


def test_an_unknown_moment_is_told_the_nearest(door: Door) -> None:
    code, fields, said = door.decide(door.customer(), moment="usage.limit_reach").problem(422)
    assert (code, fields) == ("unknown-moment", ["moment"])
    assert "did you mean `usage.limit_reached`?" in said


@pytest.mark.parametrize(
    ("change", "code", "field", "words"),
    [
        ({"channels": ["in_ap"]}, "unknown-channel", "channels", "did you mean `in_app`?"),
        ({"context": {"usd": 1}}, "unknown-context", "context.usd", "did you mean `used`?"),
        ({"context": {"used": "ten"}}, "invalid-context", "context.used", "of type int"),
        ({"context": {"used": True}}, "invalid-context", "context.used", "of type int"),
        ({"context": {"limit": "x" * 257}}, "invalid-context", "context.limit", "256"),
        ({"limit": 11}, "invalid-question", "limit", "10"),
        ({"budget_ms": 0}, "invalid-question", "budget_ms", ">= 1"),
        ({"budget_ms": "50"}, "invalid-question", "budget_ms", "Expected `int"),
        ({"customer": {}}, "invalid-question", "customer", "`id` or `email`"),
        ({"customer": {"id": "a", "email": "a@b.c"}}, "invalid-question", "customer", "`id` or `email`"),
        ({"customer": "ada"}, "invalid-question", "customer", "Expected `object`"),
        ({"customer": {"id": ""}}, "invalid-question", "customer.id", "length >= 1"),
        ({"idempotency_key": "k" * 129}, "invalid-question", "idempotency_key", "length <= 128"),
        ({"moment": None}, "invalid-question", "moment", "Expected `str`"),
        ({"more": 1}, "invalid-question", "body", "more"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_field(
    door: Door, change: dict[str, object], code: str, field: str, words: str
) -> None:
    before = door.region.records.counts()
    found, fields, said = door.post("/v1/decisions", {**question("ada"), **change}).problem(422)
    assert (found, fields) == (code, [field])
    assert words in said
    assert door.region.records.counts() == before


def test_a_proof_convinces_somebody_who_trusts_only_the_key(door: Door) -> None:
    _, answer = door.offered()
    id_ = answer["decision_id"]
    index = door.get(f"/v1/decisions/{id_}").json()["ledger"]["index"]
    proof = door.get(f"/v1/decisions/{id_}/proof")
    vkey = door.get("/v1/ledger/vkey").body.decode().strip()
    entry = door.region.records.leaves(index, index + 1)[0]
    stored = door.region.records.decision(id_)
    assert stored is not None
    assert verify_proof(proof.body, entry, vkey).ok
    assert verify_commit(entry, stored.salt, stored.record)
    assert not verify_proof(proof.body, door.region.records.leaves(0, 1)[0], vkey).ok
    report = verify_log(door.folder / "eu/ledger", vkey, pinned=door.get("/v1/ledger/checkpoint").body)
    assert report.ok, report.findings
    assert door.get(f"/v1/decisions/{UNKNOWN_ID}/proof").problem(404)[0] == "unknown-decision"


def test_tiles_of_the_ledger_can_be_fetched(door: Door) -> None:
    door.offered()
    size = int(door.get("/v1/ledger/checkpoint").body.split(b"\n")[1])
    tile = door.get(f"/v1/ledger/tile/0/{size // 256:03}.p/{size % 256}")
    assert (tile.status, len(tile.body)) == (200, 32 * (size % 256))
    for path in ("0/999", "../keys/region.key", "..%2f..%2fkeys/region.key", "0/000/../../../../keys/region.key", "x"):
        reply = door.get(f"/v1/ledger/tile/{path}")
        assert reply.status == 404, reply


def test_a_decision_replays(door: Door) -> None:
    _, answer = door.offered()
    id_ = answer["decision_id"]
    replayed = door.post(f"/v1/decisions/{id_}/replay", None)
    assert (replayed.status, replayed.json()) == (200, {"id": id_, "same": True, "difference": None})
    assert door.post(f"/v1/decisions/{UNKNOWN_ID}/replay", None).problem(404)[0] == "unknown-decision"
    other = door.post(f"/v1/decisions/{id_}/replay?release=r0000000000000000", None)
    assert other.problem(404)[0] == "unknown-release"


def test_the_decision_shown_is_the_answer_given(door: Door) -> None:
    who, answer = door.offered()
    shown = door.get(f"/v1/decisions/{answer['decision_id']}").json()
    assert shown["answer"] == {name: value for name, value in answer.items() if name != "grant"}
    assert len(shown["candidates"]) == len(door.region.releases.brain().candidates)
    assert [fate["offer"] for fate in shown["candidates"] if fate["won"]] == [answer["offer"]["id"]]
    listed = door.get(f"/v1/decisions?customer={who}").json()
    assert [one["id"] for one in listed] == [answer["decision_id"]]
    assert door.get("/v1/decisions?last=0").status == 400


def everything_stored(door: Door) -> dict[str, bytes]:
    """Every file but SQLite's shared memory, where readers put their marks."""
    files = [path for path in door.folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {str(path): path.read_bytes() for path in files}


def test_a_preview_writes_nothing(door: Door) -> None:
    who = door.customer()
    door.region.ledger.publish()
    metrics = door.get("/metrics").body
    before, counts, leaves = everything_stored(door), door.region.records.counts(), door.region.records.leaf_count()
    person = door.region.records.person(who)
    assert person is not None
    for _ in range(5):  # more often than the limit allows offers
        answer = door.post("/v1/decisions/preview", question(who, idempotency_key="preview")).json()
        assert (answer["disposition"], answer["recorded"]) == ("offered", False)
        assert "grant" not in answer
        assert door.get(f"/v1/decisions/{answer['decision_id']}").status == 404
    assert door.region.ledger.publish() == leaves
    assert everything_stored(door) == before
    assert (door.region.records.counts(), door.region.records.leaf_count()) == (counts, leaves)
    assert door.region.records.person(who) == person
    assert door.region.gate.under_way == 0
    assert door.region.records.decision_by_key(f"{who}/preview") is None
    now = door.get("/metrics").body
    assert [line for line in now.splitlines() if b"_total" in line] == [
        line for line in metrics.splitlines() if b"_total" in line
    ]
    assert door.decide(who).json()["disposition"] == "offered"
    assert everything_stored(door) != before


def test_a_key_gives_the_same_decision_again(door: Door) -> None:
    who = door.customer()
    first = door.decide(who, idempotency_key="k1")
    assert first.json()["disposition"] == "offered"
    assert door.decide(who, idempotency_key="k1").body == first.body
    other = door.decide(who, idempotency_key="k1", context={"limit": "seats", "used": 11})
    assert other.problem(409)[:2] == ("idempotency-conflict", ["idempotency_key"])
    assert door.decide(who, idempotency_key="k1").body == first.body
    somebody = door.decide(door.customer(), idempotency_key="k1")
    assert somebody.json()["decision_id"] != first.json()["decision_id"]


def test_one_key_sent_by_many_at_once_is_one_decision(door: Door) -> None:
    who = door.customer()
    before = door.region.records.counts()["decisions"]
    with ThreadPoolExecutor(64) as pool:
        replies = list(pool.map(lambda _: door.decide(who, idempotency_key="many"), range(64)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert door.region.records.counts()["decisions"] == before + 1


def test_an_answer_whose_record_is_late_offers_nothing(door: Door) -> None:
    who = door.customer()
    begun, end = Event(), Event()

    def hold(_: object) -> None:
        begun.set()
        assert end.wait(60)

    door.region.records.submit(hold, lambda _: None)
    assert begun.wait(60)
    try:
        answer = door.decide(who, budget_ms=20).json()
    finally:
        end.set()
    assert (answer["disposition"], answer["reason"], answer["recorded"]) == ("fallback", "TIMEOUT", False)
    assert answer["offer"] is None
    assert "grant" not in answer
    assert answer["degraded"] == ["record.late"]


def test_customers_show_what_is_known_with_its_age(door: Door) -> None:
    who = door.customer()
    account = f"company-{who[7:]}"
    door.accepted(event("usage.recorded", {"feature": "boards", "count": 7}, subject=who, account=account))
    shown = door.get(f"/v1/customers/{who}").json()
    assert shown["features"]["usage_7d"]["value"] == 7
    assert shown["features"]["seats"]["value"] == 10
    assert shown["features"]["usage_7d"]["age_ms"] < 60_000 < shown["features"]["tenure_days"]["age_ms"]
    assert shown["consents"]["marketing/*"]["status"] == "given"
    # This key has the scope `personal`: it sees identifiers, and them alone, as they are.
    assert shown["identity"]["identifiers"][0]["value"] == f"{who}@example.com"
    assert "@" not in str({**shown, "identity": None}), "an e-mail address in clear"
