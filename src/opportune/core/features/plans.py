"""From one feature document to its plan: type, cell, window; everything about it that needs no other feature."""

import re
from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

import msgspec

from opportune.core.durations import parse_duration_ms as parse_duration
from opportune.core.features import cells, sketches, tiles, trends
from opportune.core.features.cells import DISTINCT_MAX, SCALE, Fold, Read
from opportune.core.features.documents import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    FeatureError,
    FeatureSpec,
    FeatureView,
    Scalar,
)
from opportune.core.features.takes import TAKES, Payload, Take, nearest, take_summand

WINDOW_MS_MIN: Final = HOUR_MS
WINDOW_MS_MAX: Final = 365 * DAY_MS
HOPS_MS: Final = tuple(
    [n * DAY_MS for n in (7, 5, 2, 1)]
    + [n * HOUR_MS for n in (12, 6, 3, 2, 1)]
    + [n * MINUTE_MS for n in (30, 15, 10, 5, 2, 1)]
)
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
VIEW_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_RESERVED_WORDS: Final = (
    "as break const continue else false for function if import in let loop null package namespace return true "
    "var void while data offer customer account context channel moment bool int uint double string bytes list map "
    "type dyn has all exists exists_one filter size timestamp duration matches"
)
RESERVED: Final = frozenset(_RESERVED_WORDS.split(" "))
TYPES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "count": ("int",),
    "distinct": ("int",),
    "time_since": ("int", "double"),
    "mean": ("double",),
    "sum": ("int", "double"),
    "min": ("int", "double"),
    "max": ("int", "double"),
    "last": ("bool", "int", "double", "string"),
    "first": ("bool", "int", "double", "string"),
    "ratio": ("double",),
    "slope": ("double",),
    "streak": ("int",),
}
VALUELESS: Final = ("count", "time_since", "streak")
VALUE_OR_NOT: Final = ("slope",)
ONLY_OF: Final = {"distinct_max": "distinct", "approximate": "distinct", "over": "ratio", "of": "slope"}
"""Fields that belong to one aggregate."""
FOLDING: Final = ("where", "value", "over", "aggregate", "window", "hop", "unit", *ONLY_OF)
"""Fields that say how signals are folded, beside `from`."""
SignalFields = Mapping[str, Mapping[str, str]]
UNITS_MS: Final = {"h": HOUR_MS, "d": DAY_MS}


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled feature as others see it.

    `index` is its place in every vector. `key` names its cell in a state, None when it is derived; `signals`
    are the signal types it folds, `inputs` the features its expression reads (each direct only), `fields` the
    (signal type, field of its data) that are read; a field is empty where a signal is only counted. `column` is what
    the view's reader calls it, when it is read from outside: it has neither a cell nor inputs then.
    """

    name: str
    type: str
    entity: str
    view: str
    version: int
    owner: str
    purposes: tuple[str, ...]
    freshness_ms: int | None
    default: bool | int | float | str | None
    index: int
    key: str | None
    signals: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    column: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a feature is kept and read; `fold`, `read` and `takes` (by signal type) are empty when derived."""

    feature: Feature
    spec: FeatureSpec
    fold: Fold | None = None
    read: Read | None = None
    takes: Mapping[str, Take] = {}


class Planner:
    """Plans one feature; raises FeatureError that names the view, the feature and the field."""

    def __init__(self, view: FeatureView, spec: FeatureSpec, index: int) -> None:
        self.view, self.spec, self.index = view, spec, index
        self.fields: set[tuple[str, str]] = set()

    def error(self, field: str | None, message: str) -> FeatureError:
        return FeatureError(self.view.view, self.spec.id, field, message)

    def plan(self, signal_fields: SignalFields) -> Plan:
        spec = self.spec
        if NAME.fullmatch(spec.id) is None or spec.id in RESERVED:
            raise self.error("id", f"`{spec.id}` cannot name a feature: use lower case, digits and _, no CEL word")
        if spec.derive is not None:
            return self.derived()
        if self.view.reader is not None:
            return self.outside()
        if spec.column is not None:
            raise self.error("column", "a `column` belongs to a view with a `reader`: remove it")
        aggregate = self.aggregate()
        type_ = self.type(aggregate)
        window = self.window(aggregate)
        signals = self.signals()
        kinds = tuple(self.kind(field, signal_fields) for field in ("value", "over"))
        fold, read = self.cell(aggregate, type_, window, kinds)
        takes = {signal: self.take(signal, type_, kinds, signal_fields) for signal in signals}
        key = self.key(type_, window, kinds)
        return Plan(feature=self.feature(type_, key), spec=spec, fold=fold, read=read, takes=takes)

    def outside(self) -> Plan:
        """Read from where somebody else keeps it."""
        spec = self.spec
        for field in FOLDING:
            if getattr(spec, field) is not None:
                raise self.error(field, f"the view has a `reader`, so nothing is folded: remove `{field}`")
        if spec.sources is not None:
            raise self.error("from", "the view has a `reader`, so nothing is folded: remove `from`")
        if not spec.column:
            raise self.error("column", "name the `column` to read, or say what to `derive`")
        if spec.type is None:
            raise self.error("type", "a feature that is read says its `type`: bool, int, double or string")
        feature = msgspec.structs.replace(self.feature(spec.type, None), column=spec.column)
        return Plan(feature=feature, spec=spec)

    def derived(self) -> Plan:
        spec = self.spec
        for field in (*FOLDING, "column"):
            if getattr(spec, field) is not None:
                raise self.error(field, f"a derived feature has no `{field}`: remove it or remove `derive`")
        if spec.sources is not None:
            raise self.error("from", "a feature is either folded (`from`) or derived (`derive`): remove one")
        if spec.type is None:
            raise self.error("type", "a derived feature says its `type`: bool, int, double or string")
        return Plan(feature=self.feature(spec.type, None), spec=spec)

    def feature(self, type_: str, key: str | None) -> Feature:
        view = self.view
        return Feature(
            name=self.spec.id,
            type=type_,
            entity=view.entity,
            view=view.view,
            version=view.version,
            owner=view.owner,
            purposes=view.purposes,
            freshness_ms=self.duration("freshness", view.freshness),
            default=self.default(type_),
            index=self.index,
            key=key,
            signals=self.spec.signal_types,
            fields=tuple(sorted(self.fields)),
        )

    def aggregate(self) -> str:
        spec = self.spec
        if spec.aggregate is None:
            raise self.error("aggregate", f"say how signals are folded: {', '.join(TYPES_OF)}; or use `derive`")
        if spec.aggregate not in VALUE_OR_NOT and (spec.value is None) != (spec.aggregate in VALUELESS):
            needs = (
                "takes no `value`: remove it"
                if spec.value is not None
                else "needs a `value`, such as `data.amount`"
            )
            raise self.error("value", f"`{spec.aggregate}` {needs}")
        if (spec.unit is None) == (spec.aggregate == "time_since"):
            says = "needs a `unit`: h or d" if spec.unit is None else "has no `unit`: remove it"
            raise self.error("unit", f"`{spec.aggregate}` {says}")
        for field, owner in ONLY_OF.items():
            if getattr(spec, field) is not None and spec.aggregate != owner:
                raise self.error(field, f"`{spec.aggregate}` has no `{field}`: remove it")
        if spec.of == "mean" and spec.value is None:
            raise self.error("value", "a slope of means needs a `value`, such as `data.amount`")
        if spec.approximate and spec.distinct_max is not None:
            raise self.error("distinct_max", "an approximate `distinct` has no largest count: remove `distinct_max`")
        return spec.aggregate

    def type(self, aggregate: str) -> str:
        allowed, wanted = TYPES_OF[aggregate], self.spec.type
        if wanted is None:
            if len(allowed) == 1 or aggregate == "time_since":
                return allowed[0]
            raise self.error("type", f"say the type of `{aggregate}`: {', '.join(allowed)}")
        if wanted not in allowed:
            raise self.error("type", f"`{aggregate}` gives {' or '.join(allowed)}, not {wanted}")
        return wanted

    def signals(self) -> tuple[str, ...]:
        signals = self.spec.signal_types
        if not signals:
            raise self.error("from", "name at least one signal type")
        if len(set(signals)) != len(signals):
            raise self.error("from", "a signal type is named twice: remove one")
        return signals

    def duration(self, field: str, text: str | None) -> int | None:
        try:
            return None if text is None else parse_duration(text)
        except ValueError as error:
            raise self.error(field, str(error)) from None

    def window(self, aggregate: str) -> tuple[int, int] | None:
        """(hop_ms, tiles) or None for since ever."""
        window_ms, hop_ms = self.duration("window", self.spec.window), self.duration("hop", self.spec.hop)
        if window_ms is None:
            if hop_ms is not None:
                raise self.error("hop", "a `hop` belongs to a `window`: add one or remove the hop")
            if aggregate in ("slope", "streak"):
                raise self.error("window", f"`{aggregate}` looks back over a `window`: add one, such as `28d`")
            return None
        if aggregate in ("first", "time_since"):
            raise self.error("window", f"`{aggregate}` counts since ever: remove the window")
        if self.spec.approximate:
            message = f"remove the window, or `approximate` to count up to {DISTINCT_MAX}"
            raise self.error("window", f"an approximate `distinct` counts since ever: {message}")
        if not WINDOW_MS_MIN <= window_ms <= WINDOW_MS_MAX:
            raise self.error("window", f"`{self.spec.window}` is outside 1h to 365d")
        if hop_ms is None:
            hop_ms = next((hop for hop in HOPS_MS if hop <= window_ms // 24 and window_ms % hop == 0), MINUTE_MS)
        if hop_ms < MINUTE_MS or hop_ms % MINUTE_MS or window_ms % hop_ms:
            raise self.error("hop", f"the hop must be whole minutes and divide the window `{self.spec.window}`")
        count = window_ms // hop_ms
        if count > tiles.TILES_MAX:
            raise self.error("hop", f"{count} tiles are more than {tiles.TILES_MAX}: choose a larger hop")
        if aggregate == "slope" and count < trends.SLOPE_TILES_MIN:
            raise self.error("hop", "a slope needs two hops or more in its window: choose a smaller hop")
        return hop_ms, count

    def spare(self, hop_ms: int) -> int:
        """Tiles kept beyond the window: as many as the view's lateness reaches into."""
        lateness_ms = self.duration("lateness", self.view.lateness)
        if lateness_ms is None:
            return tiles.SPARE_TILES
        count = max(tiles.SPARE_TILES, -(-lateness_ms // hop_ms))
        if count > tiles.TILES_MAX:
            message = f"`{self.view.lateness}` are {count} hops, more than {tiles.TILES_MAX}"
            raise self.error("lateness", f"{message}: shorten it or choose a larger hop")
        return count

    def cell(
        self, aggregate: str, type_: str, window: tuple[int, int] | None, kinds: tuple[str, ...]
    ) -> tuple[Fold, Read]:
        if window is not None and aggregate not in ("last", "distinct"):
            return self.ring(aggregate, type_, *window, kinds)
        double = type_ == "double"
        if aggregate == "time_since":
            assert self.spec.unit is not None
            return cells.fold_time, cells.time_reader(UNITS_MS[self.spec.unit], not double)
        if self.spec.approximate:
            return sketches.fold_sketch, sketches.read_sketch
        if aggregate == "ratio":
            return cells.fold_ratio, cells.ratio_reader(*_units(kinds)[::-1])
        if aggregate == "distinct":
            hop_ms = window[0] if window else None
            return cells.distinct_folder(hop_ms, self.distinct_max()), cells.distinct_reader(window)
        if aggregate in ("last", "first"):
            return cells.picked_folder(aggregate, type_), cells.picked_reader(aggregate, type_, window)
        if aggregate == "count":
            return cells.fold_count, cells.read_count
        if aggregate in ("min", "max"):
            return cells.extreme_folder(aggregate, double), cells.extreme_reader(double)
        return cells.sum_folder(double), cells.sum_reader(aggregate, double)

    def ring(
        self, aggregate: str, type_: str, hop_ms: int, count: int, kinds: tuple[str, ...]
    ) -> tuple[Fold, Read]:
        """Fold and read of a cell made of tiles."""
        kept = count + self.spare(hop_ms)
        if aggregate == "streak":
            return trends.streak_folder(hop_ms, kept), trends.streak_reader(hop_ms, count)
        if aggregate == "slope":
            kept += 1  # it looks at the complete hops before the open one
            mean, double = self.spec.of == "mean", kinds[0] == "double"
            inner = "count" if self.spec.value is None else "mean" if mean else "sum"
            fold = tiles.ring_folder(inner, double, hop_ms, kept)
            return fold, trends.slope_reader(mean, SCALE if double else 1, hop_ms, count, kept)
        double = type_ == "double"
        read = tiles.ring_reader(aggregate, double, hop_ms, count, kept, _units(kinds))
        return tiles.ring_folder(aggregate, double and aggregate != "ratio", hop_ms, kept), read

    def kind(self, field: str, signal_fields: SignalFields) -> str:
        """What a `ratio` or `slope` adds up: bool (a condition), int, or double; empty when it adds nothing."""
        text: str | None = getattr(self.spec, field)
        if text is None or self.spec.aggregate not in ("ratio", "slope"):
            return ""
        kinds = {signal: self.payload(signal, signal_fields).kind(field, text) for signal in self.signals()}
        conditions = [signal for signal, kind in kinds.items() if kind == "bool"]
        if self.spec.aggregate == "ratio" and conditions:
            for signal, kind in kinds.items():
                if kind != "bool":
                    message = f"`{text}` is a condition in `{conditions[0]}`, but {kind} in `{signal}`"
                    raise self.error(field, f"{message}: make it the same in both")
            return "bool"
        return "int" if set(kinds.values()) == {"int"} else "double"

    def payload(self, signal: str, signal_fields: SignalFields) -> Payload:
        fields = signal_fields.get(signal)
        if fields is None:
            raise self.error("from", f"there is no contract for signal `{signal}`{nearest(signal, signal_fields)}")
        return Payload(self.view.view, self.spec.id, signal, fields)

    def distinct_max(self) -> int:
        count = self.spec.distinct_max if self.spec.distinct_max is not None else DISTINCT_MAX
        if not 1 <= count <= DISTINCT_MAX:
            message = f"`{count}` is outside 1 to {DISTINCT_MAX}: count more with `approximate: true`"
            raise self.error("distinct_max", message)
        return count

    def take(self, signal: str, type_: str, kinds: tuple[str, ...], signal_fields: SignalFields) -> Take:
        payload = self.payload(signal, signal_fields)
        spec, aggregate = self.spec, self.spec.aggregate or ""
        if aggregate == "ratio":
            parts = (("value", spec.value, kinds[0]), ("over", spec.over, kinds[1]))
            take = payload.pair(spec.where, parts)
        else:
            wanted = {"distinct": "dyn", "mean": "double", "slope": kinds[0]}.get(aggregate, type_)
            summed = wanted == "double" and aggregate in ("sum", "mean", "slope")
            convert = take_summand if summed else TAKES.get(wanted, TAKES["dyn"])
            take = payload.take(spec.where, spec.value, convert, wanted)
        self.fields |= {(signal, field) for field in payload.reads or ("",)}
        return take

    def default(self, type_: str) -> Scalar | None:
        default = self.spec.default
        if default is None:
            return None
        fits: Any = TAKES[type_](default) if type_ != "int" or type(default) is int else None
        if fits is None:
            raise self.error("default", f"`{default}` is no {type_}: change it or the `type`")
        accepted: Scalar = fits
        return accepted

    def key(self, type_: str, window: tuple[int, int] | None, kinds: tuple[str, ...]) -> str:
        """The stable name of the cell: view, version, feature, and a mark of the definition behind the numbers.

        A definition that changes without a new version starts afresh: two meanings never share a cell.
        """
        spec = self.spec
        signals = sorted(spec.signal_types)
        meaning: tuple[object, ...] = (
            signals, spec.where, spec.value, spec.aggregate, window, type_, spec.distinct_max
        )  # fmt: skip
        if any(kinds) or spec.approximate:
            meaning += (spec.over, spec.of or "sum", bool(spec.approximate), kinds)
        if window is not None and (spare := self.spare(window[0])) != tiles.SPARE_TILES:
            meaning += (spare,)  # another ring; cells without declared lateness keep the names they had
        mark = crc32(repr(meaning).encode()) & 0xFFFFFF
        return f"{self.view.view}.{self.view.version}.{spec.id}.{mark:06x}"


def _units(kinds: tuple[str, ...]) -> tuple[int, int]:
    """How many units of the sums kept make 1, of the part and of the whole of a `ratio`."""
    part, whole = (SCALE if kind == "double" else 1 for kind in kinds)
    return part, whole
