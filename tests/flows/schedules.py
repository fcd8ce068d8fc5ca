"""A seeded scheduler: actors are threads of which one runs at a time, and a seed says who goes on at each point."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from threading import Lock, Thread, get_ident
from typing import Any, TypeVar

from opportune.adapters.memory import MemoryRecords
from opportune.ports import Transaction

T = TypeVar("T")


class Halted(BaseException):
    """Another actor failed: this one has nothing more to do."""


class Schedule:
    """Runs actors to their ends in an order that the seed alone decides; an actor's error is raised by `run`."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._turns: dict[int, Lock] = {}
        self._alive: list[int] = []
        self._errors: list[BaseException] = []
        self._over = Lock()

    def run(self, *actors: Callable[[], None]) -> None:
        self._over.acquire()
        threads = [Thread(target=self._act, args=(number, actor), daemon=True) for number, actor in enumerate(actors)]
        for number, thread in enumerate(threads):
            turn = Lock()
            turn.acquire()
            self._turns[number] = turn
            self._alive.append(number)
            thread.start()
        self._next()
        assert self._over.acquire(timeout=60), "a schedule did not end"
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def point(self) -> None:
        """Somebody else may go on here."""
        me = self._numbers[get_ident()]
        self._next()
        self._turns[me].acquire()
        if self._errors:
            raise Halted

    _numbers: dict[int, int] = {}  # noqa: RUF012 - by thread, so one for all schedules

    def _act(self, number: int, actor: Callable[[], None]) -> None:
        self._numbers[get_ident()] = number
        self._turns[number].acquire()
        try:
            actor()
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._errors.append(error)
        self._alive.remove(number)
        if self._alive:
            self._next()
        else:
            self._over.release()

    def _next(self) -> None:
        self._turns[self.random.choice(self._alive)].release()


class ScheduledRecords(MemoryRecords):
    """Records in memory whose writer is an actor: it takes a group, runs its units, then tells each, point by point."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule | None = None
        self._queue: deque[tuple[Callable[[Transaction], Any], Callable[[Any], None]]] = deque()

    def submit(self, work: Callable[[Transaction], T], done: Callable[[T | BaseException], None]) -> None:
        if self.schedule is None:
            super().submit(work, done)
        else:
            self._queue.append((work, done))

    def run(self, work: Callable[[Transaction], T]) -> T:
        if self.schedule is None:
            return super().run(work)
        answer: list[Any] = []
        self.submit(work, answer.append)
        while not answer:
            self.schedule.point()
        if isinstance(answer[0], BaseException):
            raise answer[0]
        result: T = answer[0]
        return result

    def write(self, over: Callable[[], bool]) -> None:
        """The writer's life: until `over` and nothing waits."""
        schedule = self.schedule
        assert schedule is not None
        while self._queue or not over():
            schedule.point()
            size = schedule.random.randint(1, 3)
            group = [self._queue.popleft() for _ in range(min(size, len(self._queue)))]
            results = []
            for work, _ in group:
                results.append(self._outcome(work))
                schedule.point()
            for (_, done), result in zip(group, results, strict=True):
                done(result)
                schedule.point()
