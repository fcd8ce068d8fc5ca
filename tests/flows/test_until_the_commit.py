"""Between the snapshot and the commit the world goes on: what may not be then, is not recorded as an offer."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import ask, busy_writer, consenting, kept, question, region_of, say

from opportune.core.decisions.questions import QuestionError
from opportune.core.signals import Draft, format_time
from opportune.flows.region import Region

STORES = pytest.mark.parametrize("store", ["memory", "sqlite"])


def submit_signal(region: Region, type_: str, customer: str, **data: object) -> None:
    at = format_time(region.clock.now_ms())
    draft = Draft("tests", region.clock.new_id(), type_, at, customer, data=data)
    region.ingest.submit([draft], lambda _: None)


@STORES
def test_consent_withdrawn_before_the_commit_means_no_offer(tmp_path: Path, store: str) -> None:
    with region_of(tmp_path, kind=store) as region:
        consenting(region, "ada")
        with busy_writer(region):
            submit_signal(region, "consent.withdrawn", "ada", channels=["*"])
            under_way = ask(region, question())  # the withdrawal is not durable yet: the snapshot sees consent
        answer = under_way.result(60)
        assert (answer.disposition, answer.reason, answer.grant) == ("no_offer", "NO_CONSENT", None)
        _, record = kept(region, answer.decision_id)
        assert record.seen.consents == {"marketing/in_app": "withdrawn"}
        person = region.records.person("ada")
        assert person is not None
        assert person.contacts == ()


@STORES
def test_consent_given_before_the_commit_counts_too(tmp_path: Path, store: str) -> None:
    with region_of(tmp_path, kind=store) as region:
        say(region, "usage.recorded", "ada", count=1)
        with busy_writer(region):
            submit_signal(region, "consent.given", "ada", channels=["*"])
            under_way = ask(region, question())
        answer = under_way.result(60)
        assert answer.disposition == "offered"
        assert kept(region, answer.decision_id)[1].seen.consents == {"marketing/in_app": "given"}


@STORES
def test_other_news_leaves_the_decision_as_it_was_made(tmp_path: Path, store: str) -> None:
    with region_of(tmp_path, kind=store) as region:
        consenting(region, "ada")
        say(region, "usage.recorded", "ada", count=3)
        with busy_writer(region):
            submit_signal(region, "usage.recorded", "ada", count=4)
            under_way = ask(region, question())
        answer = under_way.result(60)
        assert answer.disposition == "offered"
        assert kept(region, answer.decision_id)[1].seen.features == {"used": 3}
        assert region.decide.preview(question("ada")).reason == "CONTACT_LIMIT"


@STORES
def test_one_key_asked_twice_at_once_is_one_decision(tmp_path: Path, store: str) -> None:
    with region_of(tmp_path, kind=store) as region:
        consenting(region, "ada")
        with busy_writer(region):
            under_way = [ask(region, question(idempotency_key="k")) for _ in range(3)]
        answers = [one.result(60) for one in under_way]
        assert answers[0] == answers[1] == answers[2]
        assert region.records.counts()["decisions"] == 1
        with busy_writer(region):
            other = ask(region, question(idempotency_key="k", moment="chat"))
        with pytest.raises(QuestionError, match="used for another question"):
            other.result(60)
        assert region.records.counts()["decisions"] == 1
