"""After the answer: a heavier model is asked about decisions that were made, and how far it is from them is kept.

1. take up decisions from where the last turn ended, in order
2. ask the heavier model about what each of them saw
3. keep: what they disagree in by day, and the place, in one transaction: each decision counts once

Nothing waits for this: it runs in the background, over what is recorded, and a turn that is interrupted leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import DecisionRecord, decode_record
from opportune.core.models import CompiledModel, ModelError, Scorecard
from opportune.core.models.disagreement import (
    CardModel,
    Disagreement,
    HeavyModel,
    decode_disagreement,
    disagreement,
    encode_disagreement,
)
from opportune.core.models.joint import Floats
from opportune.core.playbook import ModelSpec
from opportune.core.releases import Release
from opportune.ports import Clock, Records, StoredDecision, StoredDrift, Transaction

AT_ONCE = 200
SETTLED_MS = 10_000
"""So long after a decision was made, none with an earlier id is still to be written."""
DAY_MS = 86_400_000
DAYS_SHOWN = 400

CardOf = Callable[[str], Scorecard | None]
"""The newest artefact of a model that passed its gates, or None."""
OnnxOf = Callable[[ModelSpec], HeavyModel]


class Validate:
    """Asks the heavier models of a region's live playbook about its decisions."""

    def __init__(
        self, records: Records, clock: Clock, live: Callable[[], Release], release_of: Callable[[str], Release],
        card_of: CardOf, onnx_of: OnnxOf | None = None,
    ) -> None:  # fmt: skip
        """`onnx_of` opens a model from a file; ModelError when that is not what the playbook says."""
        self._records, self._clock = records, clock
        self._live, self._release_of = live, release_of
        self._card_of, self._onnx_of = card_of, onnx_of
        self._opened: dict[str, HeavyModel] = {}

    def step(self) -> int:
        """Up to AT_ONCE decisions for each heavier model; how many were taken up. ModelError for a model that is not
        what the playbook says, after the others had their turn."""
        taken, wrong = 0, None
        for spec in self._live().playbook.models:
            if spec.validates is None:
                continue
            try:
                heavy = self._heavy(spec)
                taken += 0 if heavy is None else self._turn(spec, spec.validates, heavy)
            except ModelError as error:
                wrong = error
        if wrong is not None:
            raise wrong
        return taken

    def found(self, model: str | None = None, last: int = DAYS_SHOWN) -> list[Disagreement]:
        """By day, the newest first; of one fast model or of all."""
        return [decode_disagreement(one.body) for one in self._records.drift("disagreement", last, model=model)]

    def _turn(self, spec: ModelSpec, fast: str, heavy: HeavyModel) -> int:
        # 1. take up
        reader = f"validate.{spec.model}"
        before = self._records.position(reader)
        until_ms = self._clock.now_ms() - SETTLED_MS
        some = [one for one in self._records.decisions_after(before or "", AT_ONCE) if one.at_ms <= until_ms]
        if not some:
            return 0
        # 2. ask
        by_day: dict[tuple[str, int], Disagreement] = {}
        for found in self._asked(some, fast, heavy):
            key = (found.fast, found.from_ms // DAY_MS)
            by_day[key] = by_day[key].plus(found) if key in by_day else found
        # 3. keep
        kept = self._records.run(lambda tx: self._keep(tx, reader, before, some[-1].id, fast, list(by_day.values())))
        return len(some) if kept else 0

    def _asked(self, some: Sequence[StoredDecision], fast: str, heavy: HeavyModel) -> list[Disagreement]:
        """One per decision that the fast model scored."""
        by_release: dict[str, list[tuple[StoredDecision, DecisionRecord]]] = {}
        for stored in some:
            record = decode_record(stored.record)
            if record.result.model is not None and record.result.scored.offers:
                by_release.setdefault(record.release, []).append((stored, record))
        found = []
        for hash_, decided in by_release.items():
            release = self._release_of(hash_)
            if fast not in {card.model for card in release.cards} or not isinstance(release.brain.model, CompiledModel):
                continue
            rows = [record.seen.features for _, record in decided]
            other = heavy.uplifts(rows, release.brain.offers)
            for (stored, record), theirs in zip(decided, other, strict=True):
                said = _said(release.brain, release.brain.model, record)
                name = record.result.model or ""
                found.append(disagreement(name, heavy.name, [(stored.id, stored.at_ms)], [said], [theirs]))
        return found

    def _keep(
        self, tx: Transaction, reader: str, before: str | None, after: str, fast: str, found: Sequence[Disagreement]
    ) -> bool:
        """INVARIANT: sums and the place move together, from the place this turn began at, or not at all."""
        if tx.position(reader) != before:
            return False
        for one in found:
            day = one.from_ms // DAY_MS
            id_ = f"{reader}.{one.fast}.{one.heavy}.{day}"
            kept = tx.drift(id_)
            whole = one if kept is None else decode_disagreement(kept.body).plus(one)
            tx.put_drift(
                StoredDrift(
                    id_, day * DAY_MS, "disagreement", fast, one.heavy, "disagreement", 0, encode_disagreement(whole)
                )
            )
        tx.set_position(reader, after)
        return True

    def _heavy(self, spec: ModelSpec) -> HeavyModel | None:
        """The model that a spec means; None while there is none yet."""
        if spec.onnx is not None:
            key = f"{spec.onnx} {spec.onnx_hash}"
            if key not in self._opened:
                if self._onnx_of is None:
                    raise ModelError(f"model `{spec.model}`: no ONNX file can be opened here")
                self._opened[key] = self._onnx_of(spec)
            return self._opened[key]
        card = self._card_of(spec.model)
        return None if card is None else CardModel(card)


def _said(brain: Brain, model: CompiledModel, record: DecisionRecord) -> Floats:
    """What the fast model said in the decision, by the places of the brain's offers."""
    found = np.full(len(brain.offers), np.nan)
    scored = record.result.scored
    for place, uplift in zip(scored.offers, scored.uplift, strict=True):
        if model.covered[place]:
            found[place] = uplift
    return found
