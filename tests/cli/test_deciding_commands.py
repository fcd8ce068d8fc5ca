"""`ingest`, `decide`, `explain`, `replay`, `consent`, `quarantine`: the day's work on a small company."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from opportune.core.signals import format_time

from .called import call

pytestmark = pytest.mark.slow
"""Left out of `make test-fast`."""

MOMENT = "renewal.approaching"


def event(id_: str, **fields: object) -> dict[str, object]:
    now = format_time(time.time_ns() // 1_000_000)
    base = {"specversion": "1.0", "id": id_, "source": "crm", "type": "person.updated", "time": now,
            "subject": "ann", "account": "acme", "data": {"email": "Ann@Example.com", "role": "owner"}}  # fmt: skip
    return {**base, **fields}


def written(folder: Path, *events: object) -> Path:
    path = folder / "events.ndjson"
    path.write_text("\n".join(json.dumps(one) for one in events) + "\n")
    return path


def test_the_first_ingest_makes_a_release_and_counts_every_fate(playbook: Path, tmp_path: Path) -> None:
    first = event("1")
    other = {**first, "data": {"role": "admin"}}
    path = written(tmp_path, first, first, other, event("2", type="no.such"))
    said = call("ingest", path, "--playbook", playbook, "--json")
    assert said.code == 0
    assert "made and promoted r" in said.err
    found = said.json
    assert (found["accepted"], found["duplicate"], found["quarantined"]) == (1, 1, 2)
    assert (found["true_duplicates"], found["ids_of_different_rows"]) == (1, 1)

    again = call("ingest", path, "--playbook", playbook)
    assert "1 were known before this run" in again.out
    assert "true duplicates in this input: 1 (1)" in again.out

    kept_out = call("quarantine", "--playbook", playbook, "--json").json
    assert {problem["code"] for one in kept_out for problem in one["problems"]} == {"conflict", "unknown_type"}
    assert "no.such" in call("quarantine", "--playbook", playbook).out


def test_a_line_that_is_not_json_is_named(playbook: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    path.write_text('{"id": 1}\n{oops\n')
    said = call("ingest", path, "--playbook", playbook)
    assert said.code == 2
    assert f"{path}:2: this line is not JSON" in said.err


def test_a_folder_of_tables_goes_through_a_source(playbook: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "accounts.csv").write_text(
        "account_id,account_name,industry,country,signup_date,referral_source,plan_tier,seats,is_trial,churn_flag\n"
        "A-1,One,EdTech,US,2024-10-16,ads,Basic,9,False,False\n"
    )
    for name, head in {
        "subscriptions": "subscription_id,account_id,start_date,end_date,plan_tier,seats,mrr_amount,arr_amount,"
        "is_trial,upgrade_flag,downgrade_flag,churn_flag,billing_frequency,auto_renew_flag",
        "feature_usage": "usage_id,subscription_id,usage_date,feature_name,usage_count,usage_duration_secs,"
        "error_count,is_beta_feature",
        "support_tickets": "ticket_id,account_id,submitted_at,closed_at,resolution_time_hours,priority,"
        "first_response_time_minutes,satisfaction_score,escalation_flag",
        "churn_events": "churn_event_id,account_id,churn_date,reason_code,refund_amount_usd,"
        "preceding_upgrade_flag,preceding_downgrade_flag,is_reactivation,feedback_text",
    }.items():
        (tables / f"{name}.csv").write_text(f"{head}\n")
    (tables / "support_tickets.csv").write_text(
        (tables / "support_tickets.csv").read_text()
        + "T-1,A-1,2024-11-01 10:00:00,2024-11-02 10:00:00,24,high,10,5,False\n"
    )
    said = call("ingest", tables, "--source", "ravenstack", "--playbook", playbook, "--json")
    assert said.code == 0, said.err
    assert (said.json["first"], said.json["follow_up"], said.json["quarantined"]) == (2, 1, 0)
    unknown = call("ingest", tables, "--source", "nope", "--playbook", playbook)
    assert (unknown.code, "it has ravenstack" in unknown.err) == (2, True)


def test_consent_decides_what_may_be_offered(playbook: Path, tmp_path: Path) -> None:
    call("ingest", written(tmp_path, event("1")), "--playbook", playbook)
    asked = ("decide", "ann", "--moment", MOMENT, "--channel", "agent_desk", "--playbook", playbook, "--json")
    assert call(*asked).json["reason"] == "NO_CONSENT"
    given = call("consent", "email:ann@example.com", "give", "--channel", "agent_desk", "--playbook", playbook)
    assert given.out == "recorded: ann now has marketing/agent_desk given\n"
    assert call(*asked).json["reason"] != "NO_CONSENT"
    call("consent", "ann", "withdraw", "--playbook", playbook)
    assert call(*asked).json["reason"] == "NO_CONSENT"


def test_a_preview_writes_nothing(company: Path) -> None:
    before = _standing(company)
    customer = call("explain", _newest(company), "--playbook", company, "--json").json["customer"]
    said = call("decide", customer, "--moment", MOMENT, "--preview", "--playbook", company)
    assert said.code == 0
    assert "preview, nothing was written" in said.out
    everybody = call("decide", "--all", "--moment", MOMENT, "--preview", "--playbook", company, "--json")
    assert everybody.json["recorded"] is False
    assert sum(one["count"] for one in everybody.json["mix"]) == everybody.json["customers"]
    assert _standing(company) == before


def _standing(company: Path) -> list[str]:
    """What `doctor` says, but for the room on a disk that others write to as well."""
    return [line for line in call("doctor", "--playbook", company).out.splitlines() if "GB free" not in line]


def test_a_question_that_cannot_be_asked_says_why(company: Path) -> None:
    asked = ("decide", "--playbook", company, "--preview")
    for arguments, sentence in {
        ("x", "--moment", MOMENT): "no signal has named this customer yet",
        ("x", "--moment", "renewal.aproaching"): "did you mean `renewal.approaching`?",
        ("x", "--moment", MOMENT, "--context", "days_left=soon"): "`soon` is no int",
        ("x", "--moment", MOMENT, "--context", "days_left"): "write `days_left=value`",
        ("x", "--moment", MOMENT, "--channel", "emial"): "did you mean `email`?",
        ("x", "--all", "--moment", MOMENT): "name one CUSTOMER, or say `--all`",
    }.items():
        said = call(*asked, *arguments)
        assert said.code == 2, arguments
        assert sentence in said.err
        assert len(said.err.splitlines()) == 1


def test_explain_tells_every_candidate_apart(company: Path, decision: str) -> None:
    shown = call("explain", decision, "--playbook", company)
    assert shown.code == 0
    for part in ("in words", "steps", "ledger entry", "every candidate", "seats_10@in_app"):
        assert part in shown.out
    assert len(call("explain", decision, "--playbook", company, "--json").json["candidates"]) == 22
    unknown = call("explain", "zzz", "--playbook", company)
    assert (unknown.code, "the newest is `" in unknown.err) == (2, True)


def test_replay_reproduces_every_decision(company: Path, decision: str) -> None:
    said = call("replay", "--last", "300", "--playbook", company, "--json")
    assert said.code == 0
    assert said.json["same"] == said.json["of"] > 50
    assert call("replay", decision, "--playbook", company).out == "1 of 1 the same, byte for byte\n"
    assert call("replay", "--playbook", company).code == 2
    assert "no release is called `r0`" in call("replay", decision, "--release", "r0", "--playbook", company).err


def _newest(company: Path) -> str:
    from opportune.wiring import open_for_reading

    region = open_for_reading(company / ".opportune", "larkfield", "eu")
    try:
        return region.records.decisions(1)[0].id
    finally:
        region.records.close()
