"""The door for clients of Azure Personalizer: Rank, Reward and Activate of its REST API v1.0, same paths and bodies.

Clients send their key in `Ocp-Apim-Subscription-Key`; ours in `Authorization` works too. Errors have the bodies those
clients read (`{"error": {"code", "message", "target"}}`), with our sentence in `message`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.params import PathParameter, RawBody

from opportune.core.bandits.ranking import Ranked, RankError, parse_rank
from opportune.doors.http.api import Here
from opportune.doors.http.keys import key_of
from opportune.doors.http.problems import HttpProblem, fault_of
from opportune.flows.region import NotReady
from opportune.ports import StoreBroken, StoreFull

PATH_START = "/personalizer/"
PATH = "/personalizer/{version:str}"
VERSIONS = ("v1.0", "v1.1-preview.1", "v1.1-preview.2", "v1.1-preview.3")
KEY_HEADER = "ocp-apim-subscription-key"
STATUS = {"BadRequest": 400, "ResourceNotFound": 404, "InternalServerError": 500}

Version = Annotated[str, PathParameter(max_length=32)]
Event = Annotated[str, PathParameter(max_length=256)]


class PersonalizerError(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, as these clients read it."""

    code: str
    message: str
    target: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer of this door that is an error."""

    error: PersonalizerError


class RankedAction(msgspec.Struct, frozen=True):
    """An action with the chance it had; 0 for one that was excluded."""

    id: str
    probability: float


class RankAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What to show (`rewardActionId`), and every action's chance in the order they were sent."""

    ranking: tuple[RankedAction, ...]
    event_id: str
    reward_action_id: str


class RewardBody(msgspec.Struct, frozen=True):
    """How good it was: usually 0 to 1."""

    value: float


def key_sent(headers: Mapping[str, str]) -> str | None:
    """The key of a call to this door."""
    return headers.get(KEY_HEADER) or key_of(headers.get("authorization"))


def scope_needed(path: str) -> str:
    """What a key must be allowed for a path of this door."""
    return "decisions" if path.endswith("/rank") else "read" if "/configurations/" in path else "outcomes"


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str, target: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(PersonalizerError(code, message, target))


def _answer(error: _Refused) -> Response[bytes]:
    headers = {"retry-after": "1"} if error.status == 503 else {}
    body = msgspec.json.encode(error.body)
    return Response(body, status_code=error.status, media_type="application/json", headers=headers)


def _refused(_: Request[Any, Any, Any], error: _Refused) -> Response[bytes]:
    return _answer(error)


def _problem(_: Request[Any, Any, Any], error: HttpProblem) -> Response[bytes]:
    return _answer(_Refused(error.status, str(error.status), error.detail))


def _wrong(_: Request[Any, Any, Any], error: RankError) -> Response[bytes]:
    return _answer(_Refused(STATUS[error.code], error.code, str(error), error.field))


def _not_now(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _answer(_Refused(503, "ServiceUnavailable", str(error) or "not now: try again shortly"))


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    code = "ResourceNotFound" if error.status_code == 404 else "BadRequest"
    return _answer(_Refused(error.status_code, code, error.detail))


def _failed(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _answer(_Refused(500, "InternalServerError", fault_of(error).detail))


class PersonalizerDoor(Controller):
    """POST /personalizer/v1.0/rank, /events/{id}/reward and /events/{id}/activate."""

    path = PATH
    tags = ("personalizer",)
    exception_handlers = {  # noqa: RUF012 - Litestar reads it from the class
        _Refused: _refused,
        HttpProblem: _problem,
        RankError: _wrong,
        NotReady: _not_now,
        StoreFull: _not_now,
        StoreBroken: _not_now,
        HTTPException: _http,
        Exception: _failed,
    }

    @post("/rank", sync_to_thread=True, status_code=201, summary="Which of these actions to show, recorded first")
    def rank(self, region: Here, version: Version, body: RawBody) -> RankAnswer:
        """Which of these actions to show, with every action's chance; recorded before the answer."""
        _known(version)
        return answered(region.personalize.rank(parse_rank(body)))

    @post(
        "/events/{event:str}/reward", sync_to_thread=True, status_code=204,
        summary="How good what was shown turned out to be",
    )
    def reward(self, region: Here, version: Version, event: Event, body: RawBody) -> None:
        """How good what was shown turned out to be."""
        _known(version)
        try:
            value = msgspec.json.decode(body, type=RewardBody).value
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise RankError("BadRequest", "value", f'send `{{"value": 1.0}}`: {error}') from None
        region.personalize.reward(event, value)

    @post(
        "/events/{event:str}/activate", sync_to_thread=True, status_code=204,
        summary="What a deferred rank chose was shown",
    )
    def activate(self, region: Here, version: Version, event: Event) -> None:
        """What a deferred rank chose was shown."""
        _known(version)
        region.personalize.activate(event)

    @get("/configurations/service", sync_to_thread=True, summary="How ranks are answered and learned from")
    def configuration(self, region: Here, version: Version) -> dict[str, Any]:
        """How ranks are answered and learned from, as the live release says; it is changed by a new release."""
        _known(version)
        said = region.personalize.setting()
        mode = {"online": "Online", "apprentice": "Apprentice", "logging_only": "LoggingOnly"}[said.mode]
        return {
            "rewardWaitTime": _iso(said.wait_ms),
            "defaultReward": said.default_reward,
            "rewardAggregation": said.aggregation,
            "explorationPercentage": said.exploration,
            "modelExportFrequency": "PT0S",
            "logRetentionDays": -1,
            "learningMode": mode,
        }


def answered(ranked: Ranked) -> RankAnswer:
    """The answer of a recorded rank."""
    pairs = zip(ranked.request.actions, ranked.chances, strict=True)
    return RankAnswer(tuple(RankedAction(one.id, chance) for one, chance in pairs), ranked.event, ranked.chosen)


def _known(version: str) -> None:
    if version not in VERSIONS:
        raise _Refused(404, "ResourceNotFound", f"there is no version `{version}`: use one of {', '.join(VERSIONS)}")


def _iso(period_ms: int) -> str:
    """A period in ISO 8601, such as PT10M."""
    seconds = period_ms // 1000
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    parts = [f"{hours}H" if hours else "", f"{minutes}M" if minutes else "", f"{seconds % 60}S" if seconds % 60 else ""]
    return "PT" + ("".join(parts) or "0S")
