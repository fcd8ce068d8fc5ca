"""Sources that fail on demand: a reader, a model and a store that are slow, hang, raise, or answer with garbage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Lock, Thread
from typing import Any, Literal, cast, get_args

import msgspec

from opportune.core.decisions.brain import Brain
from opportune.core.models import Reasons, Scores
from opportune.core.models.model import Model
from opportune.ports import FeatureReader, Records, StoreBroken, Transaction

Mode = Literal["fine", "slow", "hung", "failing", "garbage"]
MODES: tuple[Mode, ...] = get_args(Mode)


class SourceFailed(RuntimeError):
    """What a source raises that is told to fail."""


class Switch:
    """How one source behaves now. `slow_s` is how long it takes while it is slow; `blocked` is told of every call
    that begins to wait."""

    def __init__(self, slow_s: float = 60.0, blocked: Callable[[], None] = lambda: None) -> None:
        self.mode: Mode = "fine"
        self.slow_s = slow_s
        self.calls = 0
        self._blocked = blocked
        self._healed = Event()

    def to(self, mode: Mode) -> None:
        """From now on; whoever hangs in the source since before goes on."""
        self.mode = mode
        before, self._healed = self._healed, Event()
        before.set()

    def garbage(self) -> bool:
        """A call as it is now: waits or raises; True when the answer is to be garbage."""
        self.called()
        self.wait()
        if self.mode == "failing":
            raise SourceFailed("told to fail")
        return self.mode == "garbage"

    def called(self) -> None:
        self.calls += 1
        if self.mode in ("slow", "hung"):
            self._blocked()

    def wait(self) -> None:
        # INVARIANT: read before the mode, which `to` changes first: whoever waits does so for an event that comes.
        healed = self._healed
        if self.mode in ("slow", "hung"):
            healed.wait(self.slow_s if self.mode == "slow" else None)


class FaultyReader(FeatureReader):
    """Gives `values` of everybody."""

    def __init__(self, switch: Switch, values: Mapping[str, tuple[Any, int | None]]) -> None:
        self._switch = switch
        self._values = values

    def read(
        self, entity: str, id_: str, names: Sequence[str], now_ms: int, left_s: float
    ) -> Mapping[str, tuple[Any, int | None]]:
        if self._switch.garbage():
            return {name: (object(), now_ms) for name in names}
        return self._values


class FaultyModel(Model):
    """Another model, as well as the switch lets it; each call takes `cost_s` besides."""

    def __init__(self, switch: Switch, model: Model, cost_s: float = 0.0) -> None:
        self._switch = switch
        self._model = model
        self.cost_s = cost_s

    def score(self, values: Sequence[object]) -> Scores:
        if self.cost_s:
            time.sleep(self.cost_s)
        scores = self._model.score(values)
        if self._switch.garbage():
            return msgspec.structs.replace(scores, p_accept=[float("nan")] * len(scores.p_accept))
        return scores

    def explain(self, scores: Scores, offer_index: int) -> Reasons:
        return self._model.explain(scores, offer_index)


class OwnersModel(Model):
    """A model that says what the owners believe, of every offer of a brain; it has nothing to explain."""

    def __init__(self, brain: Brain) -> None:
        accept = [prior.p_accept for prior in brain.priors]
        uplift = [prior.uplift for prior in brain.priors]
        base = [one - other for one, other in zip(accept, uplift, strict=True)]
        self._scores = Scores(accept, base, uplift, [0.01] * len(accept), (True,) * len(accept), [])

    def score(self, values: Sequence[object]) -> Scores:
        return self._scores

    def explain(self, scores: Scores, offer_index: int) -> Reasons:
        return ()


class FaultyRecords:
    """A store whose units wait, fail or come back as garbage; what waits reaches the store underneath later."""

    def __init__(self, switch: Switch, records: Records) -> None:
        self._switch = switch
        self._records = records
        self._held: deque[tuple[Callable[[Transaction], Any], Callable[[Any], None]]] = deque()
        self._lock = Lock()
        self._thread: Thread | None = None

    @classmethod
    def over(cls, switch: Switch, records: Records) -> Records:
        return cast(Records, cls(switch, records))

    def submit_short(self, work: Callable[[Transaction], Any], done: Callable[[Any], None]) -> None:
        self.submit(work, done)

    def submit(self, work: Callable[[Transaction], Any], done: Callable[[Any], None]) -> None:
        mode = self._switch.mode
        self._switch.called()
        if mode == "failing":
            raise StoreBroken("told to fail")
        if mode == "garbage":
            done(b"\x00garbage")
        elif mode in ("slow", "hung") or self._held:
            with self._lock:
                self._held.append((work, done))
                if self._thread is None:
                    self._thread = Thread(target=self._sync, daemon=True)
                    self._thread.start()
        else:
            self._records.submit(work, done)

    def _sync(self) -> None:
        """As a disk does: all that waits, at once, when the sync comes back."""
        while True:
            with self._lock:
                if not self._held:
                    self._thread = None
                    return
                group = list(self._held)
            self._switch.wait()
            for work, done in group:
                self._records.submit(work, done)
                with self._lock:
                    self._held.popleft()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the store's
        return getattr(self._records, name)
