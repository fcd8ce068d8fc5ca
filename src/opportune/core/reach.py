"""What a playbook can never do: rules, offers, treatments and moments that no decision reaches, whatever is asked.

The worlds that are looked at are those of `policies.worlds`: every moment with every candidate its channels allow, and
every value that features, context and time can have. Nothing is said that is not certain.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from opportune.core.bitsets import mask_of_places
from opportune.core.catalog import Candidate, Offer, candidates_of
from opportune.core.expressions.nodes import Const, Node, free_names
from opportune.core.expressions.written import written
from opportune.core.features import CompiledViews
from opportune.core.limits_reach import idle_limits
from opportune.core.playbook import Playbook
from opportune.core.policies.analysis import (
    STEPS_OF_ALL_MAX,
    Remark,
    Rule,
    Scene,
    condition_of,
    conjuncts,
    covered_by,
    declared_as,
    hits,
    passes,
    place_of,
    remarks,
    rules_of,
    strangers,
    total_forbids,
)
from opportune.core.policies.compiled import validity
from opportune.core.policies.proofs import (
    ALWAYS,
    All,
    Either,
    Goal,
    Steps,
    TooHard,
    Within,
    core,
    goal,
    impossible,
    possible,
)
from opportune.core.policies.worlds import PLACE, Places, Worlds
from opportune.core.releases import table_of, variables_of
from opportune.core.signals import parse_time_ms
from opportune.core.value_domains import domains_of, names_known
from opportune.core.wording import listed

K = TypeVar("K", bound=Hashable)
STEPS_EACH_MAX = 10_000
WINDOWS_MAX = 40
REQUIRES_MAX = 2_000
"""Different requirements that are looked at; further ones count as if everybody met them."""

TRUE = Const(value=True, type="bool")
TOLD_MAX = 50
"""Of offers and treatments; a playbook in which nothing works needs no thousand lines."""


class Stage(NamedTuple):
    """Everything that is looked at for one playbook."""

    playbook: Playbook
    candidates: tuple[Candidate, ...]
    places: Places
    scene: Scene
    requires: Mapping[str, Node]
    steps: Steps
    of_offer: Mapping[str, Sequence[Candidate]]


def unreachable(
    playbook: Playbook, views: CompiledViews, own: Mapping[str, str] = {}, at_ms: int | None = None
) -> tuple[Remark, ...]:
    """Everything certain; the playbook compiles. own: rows of decision tables -> their own condition. at_ms: nothing
    before this instant counts."""
    stage = stage_of(playbook, views, own, at_ms)
    if stage is None:
        return ()
    found = list(remarks(stage.scene, stage.steps))
    for offer in playbook.offers:
        node = stage.requires[offer.requires]
        found += strangers(stage.scene, "offers", offer.offer, "requires", offer.requires, node)
    permits = any(one.effect in ("permit", "force") for one in playbook.policies)
    if permits and not total_forbids(stage.scene):
        found += _unreached(stage)
    return (*found, *idle_limits(playbook.app.limits, playbook.channels))


def stage_of(
    playbook: Playbook, views: CompiledViews, own: Mapping[str, str] = {}, at_ms: int | None = None
) -> Stage | None:
    """The playbook's worlds; None where there is no candidate at all."""
    candidates = candidates_of(playbook.offers, playbook.channels)
    if not candidates:
        return None
    variables, table = variables_of(playbook, views), table_of(candidates, playbook.app.offer_attributes)
    types = {variable.name: variable.type for variable in variables}
    moments = playbook.app.moments
    size, open_ = len(candidates), 0
    in_channel = grouped(candidates, lambda one: one.channel.channel)
    for number, moment in enumerate(moments):
        for name in moment.channels:
            open_ |= in_channel.get(name, 0) << number * size
    places = Places(table, tuple(moment.moment for moment in moments), open_)
    nodes = [condition_of(policy.when, types) for policy in playbook.policies]
    texts = list(dict.fromkeys(one.requires for one in playbook.offers))
    requires = {text: condition_of(text, types) for text in texts[:REQUIRES_MAX]}
    requires |= dict.fromkeys(texts[REQUIRES_MAX:], TRUE)
    owned = {id_: condition_of(text, types) for id_, text in own.items()}
    domains = domains_of(playbook, at_ms)
    worlds = Worlds([*nodes, *requires.values(), *owned.values()], variables, domains, places)
    windows = {offer.offer: _window(offer) for offer in playbook.offers}
    bounds = [validity(policy) for policy in playbook.policies]
    bounds += windows.values() if _few(windows) else ()
    worlds.also("now", [ms for pair in bounds for ms in pair if ms is not None])
    scene = Scene(
        worlds=worlds,
        rules=rules_of(playbook.policies, nodes, worlds),
        background=tuple(_background(playbook, candidates, places, worlds, windows, at_ms)),
        known=names_known(playbook, candidates, domains),
        own=owned,
    )
    of_offer: dict[str, list[Candidate]] = {}
    for one in candidates:
        of_offer.setdefault(one.offer.offer, []).append(one)
    return Stage(playbook, candidates, places, scene, requires, Steps(STEPS_OF_ALL_MAX), of_offer)


def _background(
    playbook: Playbook, candidates: Sequence[Candidate], places: Places, worlds: Worlds,
    windows: Mapping[str, tuple[int | None, int | None]], at_ms: int | None,
) -> Iterator[Goal]:  # fmt: skip
    """What holds in every decision: an offer is shown while it is valid, and only some moments come with a context."""
    over = 0
    masks = grouped(candidates, lambda one: windows[one.offer.offer])
    for (first, last), mask in masks.items():
        over |= mask if _is_over(first, last, at_ms) else 0
    yield Within(PLACE, places.open & ~places.of(over))
    for (first, last), mask in masks.items() if _few(windows) else ():
        if first is not None or last is not None:
            inside = worlds.within("now", first, last)
            rest = places.open & ~places.of(mask)
            yield Either((Within(PLACE, rest), Within(inside.axis, inside.true)))
    every = (1 << len(candidates)) - 1
    for name in sorted({name for moment in playbook.app.moments for name in moment.context}):
        asked = [number for number, moment in enumerate(playbook.app.moments) if name in moment.context]
        given = worlds.given(f"context.{name}")
        allowed = places.of(every, asked) & places.open
        yield Either((Within(given.axis, given.false), Within(PLACE, allowed)))


def _few(windows: Mapping[str, tuple[int | None, int | None]]) -> bool:
    """Whether the dates of offers are looked at: to leave them out is to claim less."""
    return len(set(windows.values())) <= WINDOWS_MAX


def _is_over(first: int | None, last: int | None, at_ms: int | None) -> bool:
    """Whether an offer is never valid, or not any more."""
    return last is not None and ((first is not None and last <= first) or (at_ms is not None and last <= at_ms))


def grouped(candidates: Sequence[Candidate], key: Callable[[Candidate], K]) -> dict[K, int]:
    """Key -> the mask of its candidates."""
    places: dict[K, list[int]] = {}
    for one in candidates:
        places.setdefault(key(one), []).append(one.index)
    return {name: mask_of_places(found) for name, found in places.items()}


def _window(offer: Offer) -> tuple[int | None, int | None]:
    """(first millisecond, first that is too late), as the shortlist has it."""
    first = None if offer.valid_from is None else parse_time_ms(offer.valid_from)
    return first, None if offer.valid_to is None else parse_time_ms(offer.valid_to) + 1


# --- offers, treatments and moments -------------------------------------------------------------------------------


def _unreached(stage: Stage) -> Iterator[Remark]:
    """Offers that no customer can get, treatments that are never shown, moments at which nothing can be offered."""
    reached = _reached(stage)
    told, silent = 0, dict[str, Remark | None]()
    for channel in stage.playbook.channels:
        silent[channel.channel] = _of_channel(stage, channel.channel, reached)
    yield from (one for one in silent.values() if one is not None)
    for offer in stage.playbook.offers:
        for found in _of_offer(stage, offer, reached, {name for name, one in silent.items() if one is not None}):
            yield found
            told += 1
            if told == TOLD_MAX:
                return
    size = len(stage.candidates)
    for number, moment in enumerate(stage.playbook.app.moments):
        pairs = ((1 << size) - 1) << number * size & stage.places.open
        if not pairs:
            named = listed(moment.channels)
            message = f"nothing can be offered at this moment: no offer has a treatment for {named}. Word one, or name "
            yield Remark("moments", moment.moment, ("channels",), f"{message}another channel")
        elif not pairs & reached:
            message = "nothing can ever be offered at this moment: no offer of its channels is both permitted and left "
            yield Remark("moments", moment.moment, ("channels",), f"{message}by what forbids. `permit` one here")


def _reached(stage: Stage) -> int:
    """The (moment, candidate) pairs that some decision may leave, and those that are too hard to tell."""
    worlds, scene = stage.scene.worlds, stage.scene
    forbids = [one for one in scene.rules if one.policy.effect == "forbid"]
    forces = [one for one in scene.rules if one.policy.effect == "force"]
    permitted = Either(tuple(hits(worlds, one) for one in scene.rules if one.policy.effect in ("permit", "force")))
    gates = tuple(passes(worlds, one) for one in forbids)
    forced = All(
        (
            Either(tuple(hits(worlds, one) for one in forces)),
            *(gate for one, gate in zip(forbids, gates, strict=True) if one.hard),
        )
    )
    reached = 0
    by_text = grouped(stage.candidates, lambda one: one.offer.requires)
    for text, node in stage.requires.items():
        left = stage.places.of(by_text.get(text, 0)) & stage.places.open
        usual = All((permitted, *gates, goal(worlds, node, "true")))
        wanted = Either((usual, forced)) if forces else usual
        try:
            while left:
                box = possible(worlds, [Within(PLACE, left), wanted, *scene.background], stage.steps)
                if box is None:
                    break
                reached |= box[PLACE] & left
                left &= ~box[PLACE]
        except TooHard:
            reached |= left
    return reached


def _of_channel(stage: Stage, channel: str, reached: int) -> Remark | None:
    """A channel in which nothing is ever shown, for one reason."""
    own = mask_of_places(one.index for one in stage.candidates if one.channel.channel == channel)
    pairs = stage.places.of(own)
    if own.bit_count() < 2 or pairs & reached:
        return None
    if not pairs & stage.places.open:
        message = "nothing is ever shown in this channel: no moment asks in it. Add it to one, or remove its treatments"
        return Remark("channels", channel, ("channel",), message)
    why = _why_held(stage, None, pairs & stage.places.open)
    if why is None:
        return None
    return Remark("channels", channel, ("channel",), f"nothing is ever shown in this channel: {why}")


def _of_offer(stage: Stage, offer: Offer, reached: int, silent: set[str]) -> Iterator[Remark]:
    own = stage.of_offer.get(offer.offer, ())
    pairs = {one.channel.channel: stage.places.of(1 << one.index) & stage.places.open for one in own}
    every = 0
    for mask in pairs.values():
        every |= mask
    if not every:
        named = listed(pairs)
        message = f"no customer can get this offer: no moment asks in {named}. Add the channel to a moment, or word it "
        yield Remark("offers", offer.offer, ("treatments",), f"{message}for another")
        return
    if not every & reached:
        found = _why_nobody(stage, offer, every)
        if found is not None:
            yield found
        return
    for channel, mask in pairs.items():
        if mask & reached or channel in silent:
            continue
        field = ("treatments", channel)
        if not mask:
            message = f"this is never shown: no moment asks in channel `{channel}`. Add it to one, or remove this"
            yield Remark("offers", offer.offer, field, message)
        elif (why := _why_held(stage, offer, mask)) is not None:
            yield Remark("offers", offer.offer, field, f"this is never shown: {why}")


def _why_nobody(stage: Stage, offer: Offer, pairs: int) -> Remark | None:
    """Why nobody can get an offer, at the field that says so."""
    worlds, scene = stage.scene.worlds, stage.scene
    here: list[Goal] = [Within(PLACE, pairs), *scene.background]
    if impossible(worlds, here):
        message = "no customer can get this offer: it is not valid any more, or never. Change its dates, or remove it"
        return Remark("offers", offer.offer, ("valid_to" if offer.valid_to else "valid_from",), message)
    parts = conjuncts(stage.requires[offer.requires])
    needed = [goal(worlds, part, "true") for part in parts]
    if impossible(worlds, [*needed, *here]):
        guilty = [parts[place] for place in core(worlds, [*needed, *here]) if place < len(parts)]
        texts = " and ".join(f"`{written(part)}`" for part in guilty)
        line, column = place_of(offer.requires, guilty[0]) if guilty else (1, 1)
        names = sorted(frozenset[str]().union(*(free_names(part) for part in guilty)))
        whys = [f"`{name}` {why}" for name in names if (why := declared_as(worlds, name, len(guilty)))]
        told = f": {'; '.join(whys)}" if whys else ""
        never = "are never true together" if len(guilty) > 1 else "is never true"
        message = f"no customer can get this offer: {texts} {never}"
        return Remark("offers", offer.offer, ("requires",), f"{message}{told}. Change it", "warning", line, column)
    held = _why_held(stage, offer, pairs)
    if held is None:
        return None
    return Remark("offers", offer.offer, ("offer",), f"no customer can get this offer: {held}")


def _why_held(stage: Stage, offer: Offer | None, pairs: int) -> str | None:
    """Why what is asked about these pairs (of one offer) never comes through policies; None when there is no short
    answer."""
    worlds, scene = stage.scene.worlds, stage.scene
    here: list[Goal] = [Within(PLACE, pairs), *scene.background]
    granting = [one for one in scene.rules if one.policy.effect in ("permit", "force")]
    permitted = Either(tuple(hits(worlds, one) for one in granting))
    if impossible(worlds, [permitted, *here], Steps(STEPS_EACH_MAX)):
        return "no policy permits it. Write a `permit` that covers it, or remove it"
    required = ALWAYS if offer is None else goal(worlds, stage.requires[offer.requires], "true")
    if impossible(worlds, [permitted, required, *here], Steps(STEPS_EACH_MAX)):
        return "no policy permits it for those who meet what it requires. Widen a `permit`, or `requires`"
    forbids = [one for one in scene.rules if one.policy.effect == "forbid"]
    try:
        covering = covered_by(scene, All((permitted, required, *here)), forbids, Steps(STEPS_EACH_MAX))
    except TooHard:
        return None
    if not covering:
        return None
    return f"{listed(one.policy.id for one in covering)} always {_forbids(covering)} it. Narrow {_them(covering)}"


def _forbids(rules: Sequence[Rule]) -> str:
    return "forbids" if len(rules) == 1 else "together forbid"


def _them(rules: Sequence[Rule]) -> str:
    return "the rule, or remove this" if len(rules) == 1 else "one of them, or remove this"
