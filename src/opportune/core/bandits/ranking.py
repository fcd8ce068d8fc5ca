"""A call to rank: what an application asks, what is wrong with it, and which action it gets with which chance."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from opportune.core.bandits.chances import drawn, even_share, greedy, inverse_gap, rounded, thompson
from opportune.core.bandits.hashing import FeatureError, Features
from opportune.core.bandits.shared import Shared, action_of, context_of

ACTIONS_MAX: Final = 50
ID_CHARS_MAX: Final = 256
REQUEST_BYTES_MAX: Final = 65_536
PAIRS_MAX: Final = 100_000
"""Features of the actions times those of the context, which are looked at together: some 25 ms for one call."""

WIDTH: Final = 0.2
"""Thompson's error, times this (Chapelle & Li 2011 found less than the whole error best)."""

GAMMA: Final = 100.0

Mode = Literal["online", "apprentice", "logging_only"]
Method = Literal["epsilon", "thompson", "inverse_gap"]

_NAMING: Final = re.compile(
    r"(customer|user|person|account|visitor|member|subscriber|contact|device|session|cookie)_?(id|key|guid|uuid)?"
    r"|(e_?)?mail(_?address)?|phone(_?number)?|ssn|iban|ip(_?address)?|(first|last|full|user)_?name",
)
_NAMING_BARE: Final = frozenset({"customer", "user", "account", "session", "visitor", "person", "subscriber"})
"""Groups of features are often called so; a text or a number under such a name is somebody."""

_KINDS: Final = frozenset({"contact", "device", "member", "cookie"})
"""Bare, these are said of kinds: `device: mobile`."""

_MAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s.-]+")


class RankError(ValueError):
    """A call that cannot be answered: a code as clients know it, the field and what to do."""

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class RankableAction(msgspec.Struct, frozen=True):
    """One action that could be shown, with its features."""

    id: str
    features: tuple[Any, ...] = ()


class RankRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What an application may show and what it knows, in the shape of Azure Personalizer's v1.0 `RankRequest`.

    The first action that is not excluded is the baseline: what the application would show by itself.
    """

    actions: tuple[RankableAction, ...]
    context_features: tuple[Any, ...] | None = None
    excluded_actions: tuple[str, ...] | None = None
    event_id: str | None = None
    defer_activation: bool | None = None


class Setting(msgspec.Struct, frozen=True):
    """How calls are answered and learned from; `exploration` is the share of calls that try something at random,
    `wait_ms` how long a reward may take, `default_reward` what is taken in when none came."""

    mode: Mode = "online"
    method: Method = "epsilon"
    exploration: float = 0.2
    wait_ms: int = 600_000
    default_reward: float = 0.0
    aggregation: Literal["earliest", "sum"] = "earliest"


class Ranked(msgspec.Struct, frozen=True):
    """What was answered, and all that is needed to learn from it and to judge other policies by it.

    `chances` are in the order of the actions; `wanted` is what the learner alone would have shown, `baseline` what the
    application would have. `expected` are the learner's rewards for the two, by the state of that moment.
    """

    event: str
    at_ms: int
    setting: Setting
    request: RankRequest
    chances: tuple[float, ...]
    chosen: str
    wanted: str
    baseline: str
    expected: tuple[float, float]
    learned: int

    @property
    def probability(self) -> float:
        """The chance with which the chosen action was chosen."""
        return self.chance(self.chosen)

    def chance(self, action: str) -> float:
        return next(c for one, c in zip(self.request.actions, self.chances, strict=True) if one.id == action)

    @property
    def active(self) -> bool:
        """Will it surely be shown, so that a reward is expected?"""
        return not self.request.defer_activation


class Parsed(msgspec.Struct, frozen=True):
    """The features of a call, hashed; `open` are the places of the actions that are not excluded."""

    context: Features
    actions: tuple[Features, ...]
    open: tuple[int, ...]


def parse_rank(body: bytes) -> RankRequest:
    """A call from its JSON; RankError says what is wrong with it."""
    if len(body) > REQUEST_BYTES_MAX:
        raise RankError("BadRequest", "body", f"a call holds at most {REQUEST_BYTES_MAX} bytes: send fewer features")
    try:
        request = msgspec.json.decode(body, type=RankRequest)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise RankError("BadRequest", "body", f"the call cannot be read: {error}") from None
    return request


def check_rank(request: RankRequest) -> Parsed:
    """The features of a call; RankError names the field that is wrong and the fix."""
    ids = [action.id for action in request.actions]
    if not 1 <= len(ids) <= ACTIONS_MAX:
        raise RankError("BadRequest", "actions", f"send 1 to {ACTIONS_MAX} actions, not {len(ids)}")
    for place, id_ in enumerate(ids):
        if not 1 <= len(id_) <= ID_CHARS_MAX:
            raise RankError("BadRequest", f"actions[{place}].id", f"an id has 1 to {ID_CHARS_MAX} characters")
    if len(set(ids)) < len(ids):
        twice = next(id_ for id_ in ids if ids.count(id_) > 1)
        raise RankError("BadRequest", "actions", f"the id `{twice[:64]}` stands twice: ids tell actions apart")
    excluded = set(request.excluded_actions or ())
    if excluded - set(ids):
        raise RankError("BadRequest", "excludedActions", "an excluded id is no id of `actions`: leave it out")
    left = tuple(place for place, id_ in enumerate(ids) if id_ not in excluded)
    if not left:
        raise RankError("BadRequest", "excludedActions", "all actions are excluded: leave at least one")
    check_event_id(request.event_id)
    for field, given in (("contextFeatures", request.context_features or ()), *_action_features(request)):
        for at, what in _naming(given, field):
            message = (
                f"`{at}` {what}, and calls to rank name nobody: leave it out, or say what it means (a plan, a "
                "segment). An offer to a known customer is a decision, which asks for consent: POST /v1/decisions"
            )
            raise RankError("BadRequest", at, message)
    try:
        context = context_of(request.context_features or ())
        actions = tuple(
            action_of(action.id, action.features, f"actions[{place}].features")
            for place, action in enumerate(request.actions)
        )
    except FeatureError as error:
        raise RankError("BadRequest", error.field, str(error)) from None
    pairs = len(context.values) * sum(len(action.values) for action in actions)
    if pairs > PAIRS_MAX:
        message = f"{pairs:,} pairs of an action's feature and one of the context are more than {PAIRS_MAX:,}"
        raise RankError("BadRequest", "contextFeatures", f"{message}: send fewer features or fewer actions")
    return Parsed(context, actions, left)


def check_event_id(event: str | None) -> None:
    """RankError for an id that cannot be one."""
    if event is None:
        return
    if not 1 <= len(event) <= ID_CHARS_MAX or not event.isprintable() or "/" in event:
        raise RankError("BadRequest", "eventId", f"an event id has 1 to {ID_CHARS_MAX} printable characters and no `/`")
    if _MAIL.search(event):
        raise RankError("BadRequest", "eventId", "an event id is no e-mail address: send a random one, such as a UUID")


def rank(
    request: RankRequest, parsed: Parsed, learner: Shared, setting: Setting, event: str, at_ms: int, uniform: float
) -> Ranked:
    """The answer: in apprentice and logging mode always the baseline, online one drawn by its chances."""
    rows = learner.rows(parsed.context, [parsed.actions[place] for place in parsed.open])
    values, errors = learner.values(rows)
    best = values.index(max(values))
    spread = _chances(values, errors, setting) if setting.mode == "online" else greedy([1.0] + [0.0] * (len(rows) - 1))
    spread = rounded(spread)
    chosen = drawn(spread, uniform)
    chances = [0.0] * len(request.actions)
    for place, chance in zip(parsed.open, spread, strict=True):
        chances[place] = chance
    names = [request.actions[place].id for place in parsed.open]
    expected = (values[best], values[0])
    return Ranked(
        event, at_ms, setting, request, tuple(chances), names[chosen], names[best], names[0], expected, learner.learned
    )


def _chances(values: Sequence[float], errors: Sequence[float], setting: Setting) -> list[float]:
    if setting.method == "thompson":
        found = thompson(values, [WIDTH * error for error in errors])
    elif setting.method == "inverse_gap":
        found = inverse_gap(values, GAMMA)
    else:
        found = greedy(values)
    return even_share(found, setting.exploration) if setting.exploration else found


def _action_features(request: RankRequest) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for place, action in enumerate(request.actions):
        yield f"actions[{place}].features", action.features


def _naming(given: Any, at: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - whatever an application sends
    """(field, what is wrong with it) of features that name a person or a device."""
    if isinstance(given, str):
        if _MAIL.search(given):
            yield at, "is an e-mail address"
    elif isinstance(given, Mapping):
        for name, inside in given.items():
            field = f"{at}.{name}"
            simple = _WORDS.sub("_", str(name)).lower()
            groups = isinstance(inside, Mapping | list) and simple in _NAMING_BARE
            if _NAMING.fullmatch(simple) and not groups and simple not in _KINDS:
                yield field, "names a person or a device"
            yield from _naming(inside, field)
    elif isinstance(given, list | tuple):
        for place, inside in enumerate(given):
            yield from _naming(inside, f"{at}[{place}]")
