"""Cases: what follows from drift, as a state machine that a person decides and a killed process can take up again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

CaseKind = Literal["retraining", "fall_back"]
Status = Literal[
    "proposed", "approved", "refused", "trained", "failed", "done", "falling_back", "fallen_back", "stuck"
]  # fmt: skip
"""Retraining: proposed -> approved or refused by a person -> trained (its gates passed, and the artefact waits in the
registry for approval) or failed (a person may approve another try) -> done, when a release that holds it is live.
Fall back: falling_back -> fallen_back, or stuck when nothing may take the model's place."""

NEXT: Mapping[Status, frozenset[Status]] = {
    "proposed": frozenset({"approved", "refused"}),
    "approved": frozenset({"trained", "failed", "refused"}),
    "failed": frozenset({"approved", "refused"}),
    "trained": frozenset({"done", "approved", "refused"}),
    "refused": frozenset(),
    "done": frozenset(),
    "falling_back": frozenset({"fallen_back", "stuck"}),
    "fallen_back": frozenset(),
    "stuck": frozenset({"falling_back"}),
}
OPEN: frozenset[Status] = frozenset({"proposed", "approved", "failed", "trained", "falling_back", "stuck"})
REASON_MAX = 1_000


class CaseError(ValueError):
    """A step that a case cannot take; says what it waits for. `code` is `unknown`, `person`, `reason` or `stage`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Step(msgspec.Struct, frozen=True):
    """What a case became, when, by whom and why."""

    at_ms: int
    status: Status
    by: str
    why: str


class DriftCase(msgspec.Struct, frozen=True):
    """What follows for one card. `signs` are what was found, as `kind/what/segment`, and `words` say it; `report` is
    the window that opened it. `artefact` is the hash of what was trained, `release` that which is live because of it.
    """

    id: str
    kind: CaseKind
    model: str
    card: str
    report: str
    words: tuple[str, ...]
    signs: tuple[str, ...]
    steps: tuple[Step, ...]
    artefact: str = ""
    release: str = ""

    @property
    def status(self) -> Status:
        return self.steps[-1].status

    @property
    def opened_ms(self) -> int:
        return self.steps[0].at_ms


WAITS: Mapping[Status, str] = {
    "proposed": "a person approves or refuses it: `opportune cases approve {id}`",
    "approved": "the model is trained: `opportune cases retrain`, or the running server does it",
    "failed": "a person approves another try, or refuses it: `opportune cases approve {id}`",
    "trained": "people approve the new artefact (`opportune approve {artefact}`); then make a release and promote it",
    "refused": "nothing: it is over",
    "done": "nothing: it is over",
    "falling_back": "what was live before is made live: `opportune drift`, or the running server does it",
    "fallen_back": "nothing: it is over",
    "stuck": "a person: nothing that was live before may take the model's place",
}


def waits_for(case: DriftCase) -> str:
    """What has to happen next, in words."""
    return WAITS[case.status].format(id=case.id, artefact=case.artefact[:12])


def opened(
    kind: CaseKind, model: str, card: str, report: str, words: tuple[str, ...], signs: tuple[str, ...], at_ms: int
) -> DriftCase:
    """A new case. The same report opens the same case, so that opening it twice is opening it once."""
    first: Status = "proposed" if kind == "retraining" else "falling_back"
    id_ = f"{kind.replace('_', '-')}-{model}-{report.rpartition('/')[2].lstrip('0') or '0'}-{card[:8]}"
    return DriftCase(id_, kind, model, card, report, words, signs, (Step(at_ms, first, "drift", "; ".join(words)),))


def advanced(
    case: DriftCase, status: Status, at_ms: int, by: str, why: str, *, artefact: str | None = None,
    release: str | None = None,
) -> DriftCase:  # fmt: skip
    """The case one step further; CaseError when it may not go there."""
    if status not in NEXT[case.status]:
        stage = case.status.replace("_", " ")
        raise CaseError("stage", f"case `{case.id}` is {stage} and waits for this: {waits_for(case)}")
    if not why.strip() or len(why) > REASON_MAX:
        raise CaseError("reason", f"say why in 1 to {REASON_MAX} characters: it is kept with the case")
    return msgspec.structs.replace(
        case, steps=(*case.steps, Step(at_ms, status, by, why.strip())),
        artefact=case.artefact if artefact is None else artefact, release=case.release if release is None else release,
    )  # fmt: skip


def news(signs: tuple[str, ...], cases: list[DriftCase], kind: CaseKind) -> bool:
    """Whether these signs ask for a new case: none of this kind is open for the card, and something was found that
    no earlier one (which a person may have refused) was opened for."""
    same = [case for case in cases if case.kind == kind]
    if any(case.status in OPEN for case in same):
        return False
    known = {sign for case in same for sign in case.signs}
    return bool(set(signs) - known)


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(DriftCase)


def encode_case(case: DriftCase) -> bytes:
    return _ENCODER.encode(case)


def decode_case(data: bytes) -> DriftCase:
    """The case back; msgspec.ValidationError for other bytes."""
    return _DECODER.decode(data)
