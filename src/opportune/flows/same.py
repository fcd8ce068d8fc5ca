"""Questions with the same idempotency key at the same time: one is decided, and its answer is everybody's."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from opportune.core.decisions.answers import Answer
from opportune.core.decisions.questions import Question, QuestionError

Done = Callable[[Answer | BaseException], None]


class SameKeys:
    """The questions with a key that are under way. Threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[tuple[str | None, str | None, str], tuple[Question, list[Done]]] = {}

    def first(self, question: Question, done: Done) -> Done | None:
        """What to call with the answer, for all who ask the same; None for who is not the first and will be told.

        Raises QuestionError when the key is used for another question meanwhile.
        """
        if question.idempotency_key is None:
            return done
        who = question.customer
        key = who.id, who.email, question.idempotency_key
        with self._lock:
            found = self._under_way.get(key)
            if found is None:
                self._under_way[key] = question, [done]
                return lambda outcome: self._tell(key, outcome)
            if found[0] != question:
                raise other_question()
            found[1].append(done)
            return None

    def _tell(self, key: tuple[str | None, str | None, str], outcome: Answer | BaseException) -> None:
        with self._lock:
            _, waiting = self._under_way.pop(key)
        for done in waiting:
            done(outcome)


def other_question() -> QuestionError:
    message = "this `idempotency_key` was used for another question: use a new one"
    return QuestionError("idempotency_conflict", "idempotency_key", message)
