"""Off-policy evaluation over HTTP: what a stored release would have earned over recorded decisions."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.params import QueryParameter

from opportune.core.durations import parse_duration_ms
from opportune.core.offpolicy import LogError, SharedThenOwn
from opportune.doors.http.api import Here, Maybe, Text
from opportune.doors.http.problems import HttpProblem, of_field
from opportune.flows.learning.evaluate import Evaluation, Reward, evaluate

Many = Annotated[int, QueryParameter(ge=1, le=20_000)]
Earned = Annotated[Reward, QueryParameter()]
Period = Annotated[str, QueryParameter(max_length=16)]


class Evaluations(Controller):
    """GET /v1/releases/{hash}/evaluation."""

    path = "/v1/releases"
    tags = ("govern",)

    @get(
        "/{hash_:str}/evaluation", sync_to_thread=True,
        summary="What a release would have earned over recorded decisions, with intervals, or why the log cannot say",
    )
    def evaluation(
        self, region: Here, hash_: Text, last: Many = 5_000, reward: Earned = "conversion", window: Period = "14d",
        by: Maybe = None,
    ) -> Evaluation:  # fmt: skip
        """What a release would have earned over recorded decisions, with intervals, or why the log cannot say."""
        try:
            return evaluate(
                region, hash_, SharedThenOwn(), last=last, reward=reward, window_ms=_window(window),
                by=() if by is None else (by,),
            )  # fmt: skip
        except LogError as error:
            raise of_field(error.code, error.field, error.message) from None
        except LookupError as error:
            raise HttpProblem(404, "unknown_release", str(error)) from None


def _window(text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise of_field("invalid_window", "window", str(error)) from None
