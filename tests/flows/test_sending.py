"""The outbox over a real mail server: at most once, only while it may, with a way out in every message."""

from __future__ import annotations

import email.policy
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from socket import socket
from typing import Any
from unittest.mock import patch

import pytest
from aiosmtpd.controller import Controller
from msgspec.structs import replace
from small import DAY_MS, question, region_of
from test_withdrawal_race import sending_playbook

from opportune.adapters.smtp import SmtpCourier, SmtpError, couriers_of
from opportune.core.outcomes import OutcomePost
from opportune.core.signals import Draft
from opportune.doors.http.preferences.links import Link, opened
from opportune.flows.act import Act
from opportune.flows.region import Region
from opportune.flows.send import Send
from opportune.ports import Action, Parcel
from opportune.testing.clock import FrozenClock


class Mailbox:
    """Takes mail; `answer` may say something else at RCPT, DATA or in place of an answer to it."""

    def __init__(self) -> None:
        self.port = 0
        self.mail: list[EmailMessage] = []
        self.rcpt = "250 OK"
        self.data: str | None = "250 OK"
        self.before_data: Callable[[], None] = lambda: None

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, ___: Any) -> str:  # noqa: N802
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        self.before_data()
        return self.rcpt

    async def handle_DATA(self, server: Any, _: Any, envelope: Any) -> str:  # noqa: N802
        if self.data is None:
            server.transport.abort()
            return ""
        if self.data.startswith("250"):
            found = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(found, EmailMessage)
            self.mail.append(found)
        return self.data


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        box.port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    yield box
    controller.stop()


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def region(tmp_path: Path, mailbox: Mailbox, clock: FrozenClock) -> Iterator[Region]:
    courier = SmtpCourier(f"smtp://127.0.0.1:{mailbox.port}", "offers@larkfield.example", "https://o.example/")
    with region_of(tmp_path, sending_playbook(), clock=clock, kind="sqlite", couriers={"email": courier}) as found:
        said = [("person.updated", {"email": "Ada@Example.com"}), ("consent.given", {"purpose": "marketing",
                "channels": ["*"]})]  # fmt: skip
        found.ingest.run([Draft("tests", found.clock.new_id(), type_, subject="ada", data=data)
                          for type_, data in said])  # fmt: skip
        yield found


def queued(region: Region) -> str:
    answer = region.decide.run(question("ada", "renewal"))
    assert (answer.disposition, answer.channel) == ("offered", "email")
    assert (answer.delivery, answer.grant) == ("outbox", None)
    assert state(region, answer.decision_id).status == "queued"
    return answer.decision_id


def state(region: Region, id_: str) -> Action:
    found = region.records.run(lambda tx: tx.action(id_))
    assert found is not None
    return found


def withdraw(region: Region) -> None:
    said = {"purpose": "marketing", "channels": ["*"]}
    region.ingest.run([Draft("tests", region.clock.new_id(), "consent.withdrawn", subject="ada", data=said)])


def contact(region: Region) -> str:
    person = region.records.person("ada")
    assert person is not None
    return person.contacts[-1].state


def test_a_message_leaves_once_with_a_way_out(region: Region, mailbox: Mailbox) -> None:
    id_ = queued(region)
    assert region.send.step() == 1
    assert region.send.step() == 0
    (message,) = mailbox.mail
    assert message["To"] == "ada@example.com"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["List-Unsubscribe"].startswith("<https://o.example/unsubscribe/")
    stop = str(message["List-Unsubscribe"]).rpartition("/")[2].rstrip(">")
    assert opened(region.vault, "unsubscribe", stop, region.clock.now_ms()) == Link("ada", "email")
    assert message["Message-ID"] == f"<{id_}@larkfield.example>"
    text = message.get_body(("plain",))
    assert text is not None
    assert "Stop these messages: https://o.example/unsubscribe/" in text.get_content()
    assert (state(region, id_).status, contact(region)) == ("sent", "delivered")
    assert [one.kind for one in region.records.outcomes(id_)] == ["delivered"]


def test_nothing_leaves_once_consent_is_gone(region: Region, mailbox: Mailbox) -> None:
    id_ = queued(region)
    withdraw(region)
    region.send.step()
    assert mailbox.mail == []
    assert (state(region, id_).status, state(region, id_).detail, contact(region)) == (
        "cancelled", "consent", "released",
    )  # fmt: skip


def test_consent_withdrawn_during_the_conversation_stops_the_message(region: Region, mailbox: Mailbox) -> None:
    id_ = queued(region)
    mailbox.before_data = lambda: withdraw(region)
    region.send.step()
    assert mailbox.mail == []
    assert (state(region, id_).status, contact(region)) == ("cancelled", "released")


def test_an_expired_offer_is_not_sent(region: Region, mailbox: Mailbox, clock: FrozenClock) -> None:
    id_ = queued(region)
    clock.at_ms += DAY_MS
    region.send.step()
    assert mailbox.mail == []
    assert state(region, id_).detail == "expired"


def test_a_busy_server_is_asked_again_later(region: Region, mailbox: Mailbox, clock: FrozenClock) -> None:
    id_ = queued(region)
    mailbox.data = "451 try later"
    region.send.step()
    assert state(region, id_).detail == "smtp 451"
    assert (state(region, id_).status, contact(region)) == ("failed", "reserved")
    assert region.send.step() == 0
    mailbox.data = "250 OK"
    clock.at_ms += 60_000
    assert region.send.step() == 1
    assert (state(region, id_).status, len(mailbox.mail)) == ("sent", 1)


def test_an_address_that_is_refused_gives_the_attention_back(region: Region, mailbox: Mailbox) -> None:
    id_ = queued(region)
    mailbox.rcpt = "550 no such mailbox"
    region.send.step()
    assert (state(region, id_).status, state(region, id_).detail, contact(region)) == (
        "cancelled", "smtp 550", "released",
    )  # fmt: skip


def test_what_may_have_left_is_never_sent_again(region: Region, mailbox: Mailbox, clock: FrozenClock) -> None:
    id_ = queued(region)
    mailbox.data = None
    region.send.step()
    assert state(region, id_).status == "unknown"
    mailbox.data = "250 OK"
    clock.at_ms += 600_000
    assert region.send.step() == 0
    assert mailbox.mail == []
    # Somebody looked and found that it had arrived.
    region.act.run([OutcomePost(kind="delivered", decision=id_)])
    assert contact(region) == "delivered"


def test_a_worker_that_died_leaves_an_action_nobody_sends_again(
    region: Region, mailbox: Mailbox, clock: FrozenClock
) -> None:
    id_ = queued(region)
    claimed = region.records.run(lambda tx: region.send._claim(tx, id_))
    assert claimed is not None
    clock.at_ms += 180_000
    region.send.step()
    assert (state(region, id_).status, mailbox.mail) == ("unknown", [])


def test_what_left_is_not_sent_again_when_it_cannot_be_recorded(
    region: Region, mailbox: Mailbox, clock: FrozenClock
) -> None:
    id_ = queued(region)

    def broken(*_: object) -> None:
        raise ValueError("no outcome today")

    with patch.object(Act, "take", broken):
        region.send.step()
    assert (state(region, id_).status, len(mailbox.mail)) == ("unknown", 1)
    clock.at_ms += 600_000
    assert region.send.step() == 0
    assert len(mailbox.mail) == 1


def test_an_action_nothing_can_be_made_of_ends_and_does_not_come_back(region: Region, mailbox: Mailbox) -> None:
    id_ = queued(region)

    def broken(*_: object) -> str:
        raise ValueError("cannot be read")

    with patch.object(Send, "_refusal", broken):
        assert region.send.step() == 1
        assert region.send.step() == 0
    assert (state(region, id_).status, state(region, id_).detail, contact(region)) == (
        "cancelled", "ValueError", "released",
    )  # fmt: skip
    assert mailbox.mail == []


def test_a_channel_without_a_courier_gives_the_attention_back(region: Region) -> None:
    id_ = queued(region)
    replace(region.send, couriers={}).step()
    assert (state(region, id_).status, state(region, id_).detail, contact(region)) == (
        "cancelled", "no courier", "released",
    )  # fmt: skip


def test_a_server_that_is_not_there_is_no_loss() -> None:
    courier = SmtpCourier("smtp://127.0.0.1:1", "a@b.example", "https://o.example")
    parcel = Parcel("1", "email", "c@d.example", "h", "b", "a", 0, "t", "p")
    assert courier.deliver(parcel, lambda: True).status == "failed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("url: ftp://x\nsender: a@b.example\npublic_url: https://o.example\n", "smtp+tls://user:password@host:587"),
        ("url: smtp://x\nsender: a@b.example\n", "public_url"),
        ("url: [\n", "not YAML"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "email.smtp.yaml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SmtpError, match="email") as error:
        couriers_of(tmp_path)
    assert said in str(error.value)


def test_settings_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "email.smtp.yaml"
    path.write_text("url: smtp://x\nsender: a@b.example\npublic_url: https://o.example\n")
    path.chmod(0o644)
    with pytest.raises(SmtpError, match="chmod 600"):
        couriers_of(tmp_path)
    path.chmod(0o600)
    assert list(couriers_of(tmp_path)) == ["email"]
