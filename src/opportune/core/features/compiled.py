"""Compiles feature views into the two things a release needs: how a signal is folded, and how all is read."""

from collections.abc import Callable, Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import msgspec

from opportune.core.expressions import Expression, ExpressionError, parse
from opportune.core.features.cells import TIME_MS_MAX, UNREADABLE_CELL, Fold
from opportune.core.features.documents import FeatureError, FeatureView
from opportune.core.features.outside import OutsideView, outside_views, reader_problems
from opportune.core.features.plans import VIEW_NAME, Feature, Plan, Planner
from opportune.core.features.reader import NOTHING_OUTSIDE, FeatureVector, OutsideValues, Reader, build_reader
from opportune.core.features.state import UNREAD, EntityFeatures
from opportune.core.features.takes import Data, Take

SignalFields = Mapping[str, Mapping[str, str]]
"""Signal type -> payload field (dots for nested ones) -> CEL type, from the contracts."""

Steps = Mapping[tuple[str, str], tuple[tuple[str, Take, Fold], ...]]
"""(entity, signal type) -> (key, take, fold) of each feature the signal feeds."""


class Lineage(msgspec.Struct, frozen=True):
    """What a feature rests on, all the way down: signal types and other features, sorted by name."""

    feature: str
    signals: tuple[str, ...]
    features: tuple[str, ...]


class CompiledViews:
    """The features of one release; immutable, safe to share.

    names: every feature in the order of the documents, which is the order of every vector. types: CEL type by
    name. features: the compiled features by name. abroad: features that may not exist in this region, always missing.
    outside: the views whose values are read from elsewhere before a decision, in this region.
    """

    __slots__ = ("_read", "abroad", "features", "names", "outside", "steps", "types", "views")

    def __init__(
        self,
        views: Sequence[FeatureView],
        features: Mapping[str, Feature],
        steps: Steps,
        read: Reader,
        abroad: frozenset[str] = frozenset(),
    ) -> None:
        self.views = tuple(views)
        self.features = features
        self.names: tuple[str, ...] = tuple(features)
        self.types: Mapping[str, str] = {name: feature.type for name, feature in features.items()}
        self.steps = steps
        self.abroad = abroad
        self.outside: tuple[OutsideView, ...] = outside_views(views, abroad)
        self._read = read

    def fold(
        self, entity: str, state: EntityFeatures | None, type_: str, signal_id: str, at_ms: int, data: Data
    ) -> EntityFeatures | None:
        """The state after one signal about `entity` (person | account); the same object when nothing changed.

        Each signal is folded once: the log removes duplicates before. The order of arrival does not matter.
        """
        return fold_steps(self.steps.get((entity, type_)), state, signal_id, at_ms, data)

    def read(
        self,
        person: EntityFeatures | None,
        account: EntityFeatures | None,
        now_ms: int,
        outside: OutsideValues = NOTHING_OUTSIDE,
    ) -> FeatureVector:
        """All features as of `now_ms`. None: nothing folded yet, defaults apply; UNREAD: nothing can be said.

        `outside` are the values that were read from elsewhere; those that are not in it are missing, whatever the
        default.
        """
        return self._read(
            _nothing if person is None else person.cells.get,
            _nothing if account is None else account.cells.get,
            now_ms,
            outside,
        )

    @property
    def read_outside(self) -> frozenset[str]:
        """The features read from elsewhere, and all that are derived from them: the log cannot give them again."""
        own = {name for name, feature in self.features.items() if feature.column is not None}
        return frozenset(own | {name for name in self.names if own.intersection(self.lineage(name).features)})

    def lineage(self, name: str) -> Lineage:
        """Signals and features that `name` rests on; raises KeyError for an unknown feature."""
        signals: set[str] = set()
        above: set[str] = set()
        todo = [name]
        while todo:
            feature = self.features[todo.pop()]
            signals.update(feature.signals)
            todo += [each for each in feature.inputs if each not in above]
            above.update(feature.inputs)
        return Lineage(name, tuple(sorted(signals)), tuple(sorted(above)))

    @property
    def keys(self) -> frozenset[str]:
        """The cells these features are kept in."""
        return frozenset(feature.key for feature in self.features.values() if feature.key is not None)

    def only(self, keys: Collection[str]) -> "CompiledViews":
        """The same views, folding into these cells alone."""
        steps = {about: tuple(step for step in each if step[0] in keys) for about, each in self.steps.items()}
        kept = {about: each for about, each in steps.items() if each}
        return CompiledViews(self.views, self.features, kept, self._read, self.abroad)

    def within(self, region: str) -> "CompiledViews":
        """The same views as this region may have them: what is for other regions is neither folded nor read."""
        elsewhere = {view.view for view in self.views if view.regions and region not in view.regions}
        if not elsewhere:
            return self
        own = {name for name, feature in self.features.items() if feature.view in elsewhere}
        keys = {key for name in own if (key := self.features[name].key) is not None}
        abroad = own | {name for name in self.names if own & set(self.lineage(name).features)}
        found = self.only(self.keys - keys).withholding(keys)
        return CompiledViews(self.views, self.features, found.steps, found._read, frozenset(abroad))

    def withholding(self, keys: Collection[str]) -> "CompiledViews":
        """The same views, for which these cells cannot be read yet: what rests on them is missing, without default."""
        hidden, read = frozenset(keys), self._read

        def veiled(get: Callable[[str], bytes | None]) -> Callable[[str], bytes | None]:
            return lambda key: UNREADABLE_CELL if key in hidden else get(key)

        return CompiledViews(
            self.views, self.features, self.steps,
            lambda person, account, now_ms, outside: read(veiled(person), veiled(account), now_ms, outside),
            self.abroad,
        )  # fmt: skip

    def prune(self, state: EntityFeatures) -> EntityFeatures:
        """The state without the cells that no feature here reads; the same object when there are none."""
        known = {feature.key for feature in self.features.values()}
        kept = {key: cell for key, cell in state.cells.items() if key in known}
        return state if len(kept) == len(state.cells) else EntityFeatures(kept)


def _nothing(key: str) -> bytes | None:
    return None


def fold_steps(
    steps: tuple[tuple[str, Take, Fold], ...] | None,
    state: EntityFeatures | None,
    signal_id: str,
    at_ms: int,
    data: Data,
) -> EntityFeatures | None:
    """Folds one signal into a copy of the cells it feeds."""
    if steps is None or not 0 <= at_ms < TIME_MS_MAX:
        return state
    if state is UNREAD:
        raise ValueError("a state that was not read cannot take a signal: read it first")
    old: Mapping[str, bytes] = {} if state is None else state.cells
    changed: dict[str, bytes] | None = None
    for key, take, fold in steps:
        value = take(data)
        if value is None:
            continue
        before = old.get(key)
        after = fold(before, at_ms, signal_id, value)
        if after is not before:
            if changed is None:
                changed = dict(old)
            changed[key] = after
    return state if changed is None else EntityFeatures(changed)


def joint_fold(
    releases: Sequence[CompiledViews],
) -> Callable[[str, EntityFeatures | None, str, str, int, Data], EntityFeatures | None]:
    """One fold for several releases that share states (live and canary): what both have is folded once."""
    merged: dict[tuple[str, str], dict[str, tuple[str, Take, Fold]]] = {}
    for release in releases:
        for about, steps in release.steps.items():
            merged.setdefault(about, {}).update((step[0], step) for step in steps)
    table = {about: tuple(steps.values()) for about, steps in merged.items()}

    def fold(
        entity: str, state: EntityFeatures | None, type_: str, signal_id: str, at_ms: int, data: Data
    ) -> EntityFeatures | None:
        return fold_steps(table.get((entity, type_)), state, signal_id, at_ms, data)

    return fold


def compile_views(views: Sequence[FeatureView], signal_fields: SignalFields) -> CompiledViews:
    """The compiled views; raises the first FeatureError that `check_views` would list."""
    errors: list[FeatureError] = []
    compiled = _compile(views, signal_fields, errors)
    if errors:
        raise errors[0]
    return compiled


def check_views(views: Sequence[FeatureView], signal_fields: SignalFields) -> tuple[FeatureError, ...]:
    """Everything wrong with the views, in the order of the documents where possible."""
    errors: list[FeatureError] = []
    _compile(views, signal_fields, errors)
    return tuple(errors)


def _compile(
    views: Sequence[FeatureView], signal_fields: SignalFields, errors: list[FeatureError]
) -> CompiledViews:
    plans: dict[str, Plan] = {}
    seen: set[tuple[str, int]] = set()
    for view in views:
        errors += _view_errors(view, seen)
        seen.add((view.view, view.version))
        for spec in view.features:
            if spec.id in plans:
                other = plans[spec.id].feature.view
                errors.append(
                    FeatureError(view.view, spec.id, "id", f"view `{other}` has this feature already: rename one")
                )
                continue
            try:
                plans[spec.id] = Planner(view, spec, len(plans)).plan(signal_fields)
            except FeatureError as error:
                errors.append(error)
    expressions = _expressions(plans, errors)
    if errors:
        return CompiledViews((), {}, {}, build_reader((), ()))
    for name, expression in expressions.items():
        feature = msgspec.structs.replace(plans[name].feature, inputs=tuple(sorted(expression.names)))
        plans[name] = msgspec.structs.replace(plans[name], feature=feature)
    derived = [(plans[name], expressions[name]) for name in expressions]
    features = {name: plan.feature for name, plan in plans.items()}
    return CompiledViews(views, features, _steps(plans), build_reader(tuple(plans.values()), derived))


def _view_errors(view: FeatureView, seen: set[tuple[str, int]]) -> list[FeatureError]:
    """Two versions of a view may stand side by side; names of features are the playbook's, and must differ."""
    found = []
    if VIEW_NAME.fullmatch(view.view) is None:
        found.append(FeatureError(view.view, None, "view", "a view's name is lower case letters, digits, _ and -"))
    if (view.view, view.version) in seen:
        message = f"there are two views of this name and version {view.version}: give one another version or name"
        found.append(FeatureError(view.view, None, "view", message))
    if not view.purposes:
        found.append(FeatureError(view.view, None, "purposes", "say at least one purpose, such as `marketing`"))
    found += [FeatureError(view.view, None, ".".join(path), message) for path, message in reader_problems(view)]
    known = {spec.id for spec in view.features}
    if not known:
        found.append(FeatureError(view.view, None, "features", "a view has at least one feature"))
    return found


def _expressions(plans: Mapping[str, Plan], errors: list[FeatureError]) -> dict[str, Expression]:
    """The expressions of derived features, inputs before what reads them."""
    types = {name: plan.feature.type for name, plan in plans.items()}
    parsed: dict[str, Expression] = {}
    for name, plan in plans.items():
        if plan.spec.derive is None:
            continue
        try:
            parsed[name] = parse(plan.spec.derive, types, expect=plan.feature.type)
        except ExpressionError as error:
            message = f"{error} (in `{plan.spec.derive}`)"
            errors.append(FeatureError(plan.feature.view, name, "derive", message))
            continue
        errors += _derive_errors(plan, parsed[name], plans)
    try:
        order = TopologicalSorter({name: expression.names for name, expression in parsed.items()}).static_order()
        return {name: parsed[name] for name in order if name in parsed}
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        message = f"these features are derived from each other: {' -> '.join(cycle)}"
        errors.append(FeatureError(plans[cycle[0]].feature.view, cycle[0], "derive", message))
        return {}


def _derive_errors(plan: Plan, expression: Expression, plans: Mapping[str, Plan]) -> list[FeatureError]:
    """A feature may be used for no purpose its inputs are not there for, and an account's rests on no person's."""
    found = []
    for name in sorted(expression.names):
        source = plans[name].feature
        beyond = [purpose for purpose in plan.feature.purposes if purpose not in source.purposes]
        if beyond:
            message = (
                f"`{name}` (view `{source.view}`) is not for purpose `{beyond[0]}`: narrow this view's purposes"
            )
            found.append(FeatureError(plan.feature.view, plan.feature.name, "derive", message))
        if plan.feature.entity == "account" and source.entity == "person":
            message = f"`{name}` is a person's and cannot feed an account's feature: move this one to a person view"
            found.append(FeatureError(plan.feature.view, plan.feature.name, "derive", message))
    return found


def _steps(plans: Mapping[str, Plan]) -> Steps:
    steps: dict[tuple[str, str], list[tuple[str, Take, Fold]]] = {}
    for plan in plans.values():
        key, fold = plan.feature.key, plan.fold
        for signal, take in plan.takes.items():
            assert key is not None
            assert fold is not None
            steps.setdefault((plan.feature.entity, signal), []).append((key, take, fold))
    return {about: tuple(each) for about, each in steps.items()}
