"""The way out: an offer in the outbox is handed over by its channel, at most once, and only while it still may be.

1. claim: the action is leased in the record, unless it may not go any more
2. look again, immediately before the step that cannot be taken back: consent, laws, limits, expiry
3. hand over
4. record what became of it, with its outcome and ledger entry, in one transaction
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from opportune.core.customers import Account, Person
from opportune.core.decisions.answers import answer_of
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.decisions.shortlist import shortlist
from opportune.core.decisions.snapshot import see
from opportune.core.ledger import entry
from opportune.core.outcomes import OutcomePost
from opportune.core.releases import Release
from opportune.flows.act import Act
from opportune.flows.identify import lives_on
from opportune.flows.outgoing import Outgoing
from opportune.flows.reserve import move_contact, room_without
from opportune.ports import (
    Action,
    Clock,
    Courier,
    Delivery,
    Parcel,
    Records,
    StoreBroken,
    StoreFull,
    Transaction,
    Vault,
)

LEASE_MS = 120_000
POSTPONE_MS = 15 * 60_000
ATTEMPTS_MAX = 6
BACK_OFF_MS = 5_000
DUE = ("queued", "failed", "sending")

_log = logging.getLogger(__name__)


class Send(msgspec.Struct, frozen=True):
    """The ports, the live release and the channels' couriers that this flow needs."""

    records: Records
    vault: Vault
    clock: Clock
    release: Callable[[], Release]
    brain_of: Callable[[str], Brain]
    act: Act
    outgoing: Outgoing
    couriers: Mapping[str, Courier]

    def step(self, most: int = 20) -> int:
        """Takes up to `most` actions that are due; how many it took. Raises StoreBroken and StoreFull: what was under
        way then is `sending` in the record, and `unknown` once its lease has run out."""
        now_ms = self.clock.now_ms()
        due = self.records.actions(DUE, now_ms, most)
        for action in due:
            self._send(action.id)
        return len(due)

    def _send(self, id_: str) -> None:
        # 1. claim
        try:
            ready = self._prepared(id_)
        except (StoreBroken, StoreFull):
            raise
        except Exception as error:  # noqa: BLE001 - one bad action must not stop the others, nor come back for ever
            failed = type(error).__name__
            _log.error("action %s could not be prepared: %s", id_, failed)
            self.records.run(lambda tx: self._give_up(tx, id_, failed))
            return
        if ready is None:
            return
        delivery = self._hand_over(*ready)
        # 4. record
        try:
            self._finish(id_, delivery)
        except (StoreBroken, StoreFull):
            raise
        except Exception as error:  # noqa: BLE001 - INVARIANT: what may have left is never tried again
            _log.error("what became of action %s could not be recorded: %s", id_, type(error).__name__)
            self._finish(id_, Delivery("unknown", f"{delivery.status}, then {type(error).__name__}"))

    def _prepared(self, id_: str) -> tuple[Action, DecisionRecord, Courier, Parcel] | None:
        """Everything the courier needs; None when the action is not to be sent (any more, or by anybody here)."""
        action = self.records.run(lambda tx: self._claim(tx, id_))
        if action is None:
            return None
        stored = self.records.decision(id_)
        record = None if stored is None else decode_record(stored.record)
        courier = self.couriers.get(action.channel)
        to = None if courier is None else self._address(action, courier)
        if record is None or courier is None or to is None:
            missing = "the decision is gone" if record is None else "no courier" if courier is None else "no address"
            self._finish(id_, Delivery("refused", missing))
            return None
        return action, record, courier, self._parcel(action, record, to)

    def _hand_over(self, action: Action, record: DecisionRecord, courier: Courier, parcel: Parcel) -> Delivery:
        began: list[str] = []

        def may_go() -> bool:
            # 2. look again
            person = lives_on(self.records.person, action.customer)
            if person is None or began:
                return False
            allowed = self.outgoing.begin(person.id, lambda: self._refused_now(action, record) is None)
            if allowed:
                began.append(person.id)
            return allowed

        # 3. hand over
        try:
            return courier.deliver(parcel, may_go)
        except Exception as error:  # noqa: BLE001 - past `may_go` nobody knows whether it left
            _log.error("the courier of %s failed with %s", action.channel, type(error).__name__)
            return Delivery("unknown" if began else "failed", type(error).__name__)
        finally:
            if began:
                self.outgoing.end(began[0])

    def _claim(self, tx: Transaction, id_: str) -> Action | None:
        action, now_ms = tx.action(id_), self.clock.now_ms()
        if action is None or action.status not in DUE or action.due_ms > now_ms:
            return None
        if action.status == "sending":
            # Its worker stopped between claiming and recording: it may have left, so it is not sent again.
            self._close(tx, action, "unknown", "the worker stopped while it was sending")
            return None
        stored = tx.decision(action.id)
        record = None if stored is None else decode_record(stored.record)
        refusal = "erased" if record is None else self._refusal(action, record, tx)
        if refusal is None:
            replaced = msgspec.structs.replace(
                action, status="sending", attempts=action.attempts + 1, due_ms=now_ms + LEASE_MS
            )
            tx.put_action(replaced)
            return replaced
        self._hold(tx, action, refusal)
        return None

    def _hold(self, tx: Transaction, action: Action, refusal: str) -> None:
        """Quiet hours pass, everything else does not."""
        later_ms = self.clock.now_ms() + POSTPONE_MS
        if refusal == "quiet_hours" and later_ms < action.expires_ms:
            tx.put_action(msgspec.structs.replace(action, status="queued", due_ms=later_ms, detail=refusal))
        else:
            self._close(tx, action, "cancelled", refusal)

    def _refused_now(self, action: Action, record: DecisionRecord) -> str | None:
        return self._refusal(action, record, self.records)

    def _refusal(self, action: Action, record: DecisionRecord, look: Transaction | Records) -> str | None:
        """Why the action may not go now; None when it may. Everything that can forbid an offer is asked again, under
        the release that is live now, with the customer's own reservation for this action left aside."""
        now_ms, brain = self.clock.now_ms(), self.release().brain
        if action.expires_ms <= now_ms:
            return "expired"
        person = lives_on(look.person, action.customer)
        if person is None:
            return "erased"
        own = next((one for one in person.contacts if one.decision == action.id), None)
        if own is None or own.state != "reserved":
            return "released"
        candidate = brain.by_id.get(f"{action.offer}@{action.channel}")
        if candidate is None:
            return "not_in_the_live_release"
        place = candidate.index
        account = None if person.account is None else look.account(person.account)
        seen = see(
            brain, _without(person, action.id), _without_account(account, action.id), (action.channel,), now_ms,
            room=room_without(brain, look.tally, now_ms, own.holds),
        )  # fmt: skip
        asked = msgspec.structs.replace(record.asked, customer=person.id, channels=(action.channel,))
        found = shortlist(brain, asked, seen)
        if found.left >> place & 1:
            return None
        return next((stage for stage, _, mask in found.stages if mask >> place & 1), "not_allowed")

    def _give_up(self, tx: Transaction, id_: str, detail: str) -> None:
        """Ends an action that nothing can be made of; nothing of it has left."""
        action = tx.action(id_)
        if action is not None and action.status in DUE:
            self._close(tx, action, "cancelled", detail)

    def _address(self, action: Action, courier: Courier) -> str | None:
        person = lives_on(self.records.person, action.customer)
        known = () if person is None else person.identifiers
        return next((one.value for one in reversed(known) if one.kind == courier.address_kind), None)

    def _parcel(self, action: Action, record: DecisionRecord, to: str) -> Parcel:
        shown = answer_of(self.brain_of(record.release), record).offer
        assert shown is not None
        # The pages behind both are `doors/http/preferences`: whose they are, and the channel one click ends.
        link = msgspec.json.encode((action.customer, action.channel)).decode()
        stop, choose = (self.vault.token(kind, link) for kind in ("unsubscribe", "preferences"))
        return Parcel(
            action.id, action.channel, to, shown.headline, shown.body, shown.action, action.expires_ms, stop, choose
        )

    def _finish(self, id_: str, delivery: Delivery) -> None:
        def work(tx: Transaction) -> None:
            action = tx.action(id_)
            if action is None or action.status != "sending":
                return
            if delivery.status == "sent":
                self._close(tx, action, "sent", delivery.detail)
            elif delivery.status == "held":
                stored = tx.decision(id_)
                refusal = "erased"
                if stored is not None:
                    refusal = self._refusal(action, decode_record(stored.record), tx) or "held"
                self._hold(tx, action, refusal)
            elif delivery.status == "failed" and action.attempts < ATTEMPTS_MAX:
                # Doubling pauses; the id's own digits spread those that failed together.
                spread = int(id_.replace("-", "")[-4:], 16) / 65_535
                pause_ms = int(BACK_OFF_MS * 2 ** (action.attempts - 1) * (0.5 + spread))
                due_ms = self.clock.now_ms() + pause_ms
                tx.put_action(msgspec.structs.replace(action, status="failed", due_ms=due_ms, detail=delivery.detail))
            else:
                status = "unknown" if delivery.status == "unknown" else "cancelled"
                self._close(tx, action, status, delivery.detail)

        self.records.run(work)

    def _close(self, tx: Transaction, action: Action, status: str, detail: str) -> None:
        """The end of an action: its contact, its outcome, its ledger entry."""
        now_ms, release = self.clock.now_ms(), self.release()
        tx.put_action(msgspec.convert({**msgspec.structs.asdict(action), "status": status, "detail": detail}, Action))
        stored = tx.decision(action.id)
        if stored is not None and status == "sent":
            self.act.take(tx, release, OutcomePost(kind="delivered", decision=action.id), now_ms)
        elif stored is not None and status == "cancelled":
            move_contact(tx, stored, "released", now_ms)
        elif stored is not None and status == "unknown":
            # INVARIANT: what may have left counts as a contact, though nobody knows that it arrived.
            move_contact(tx, stored, "delivered", now_ms)
        tx.append_leaf(
            entry(
                entry_id=self.clock.new_id(), ts_ms=now_ms, kind="action", region=release.region, actor="send",
                codes={"decision": action.id, "status": status, "channel": action.channel},
            )
        )  # fmt: skip


def _without(person: Person, decision: str) -> Person:
    kept = tuple(one for one in person.contacts if one.decision != decision)
    return msgspec.structs.replace(person, contacts=kept)


def _without_account(account: Account | None, decision: str) -> Account | None:
    if account is None:
        return None
    kept = tuple(one for one in account.contacts if one.decision != decision)
    return msgspec.structs.replace(account, contacts=kept)
