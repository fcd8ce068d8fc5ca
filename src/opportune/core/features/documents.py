"""Feature view documents: what a playbook's `features/*.yaml` may say, and the error that names what is wrong."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import msgspec

Aggregate = Literal[
    "count", "sum", "mean", "min", "max", "last", "first", "distinct", "time_since", "ratio", "slope", "streak"
]
ValueType = Literal["bool", "int", "double", "string"]
EntityKind = Literal["person", "account"]
Scalar = bool | int | float | str

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class FeatureError(ValueError):
    """A feature view that cannot be compiled; says where (`view`, `feature`, `field`) and what to change."""

    def __init__(self, view: str, feature: str | None, field: str | None, message: str) -> None:
        where = ".".join(part for part in (view, feature, field) if part)
        super().__init__(f"{where}: {message}")
        self.view = view
        self.feature = feature
        self.field = field
        self.message = message


class ReaderSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the features of a view are kept by somebody else, who works them out.

    `sql`: `path` is a SQLite or DuckDB file, `table` a table or view in it, `entity` its column of ids and `time` that
    of event times. `feast`: `path` is a Feast repository, `entity` the join key. A path that is not absolute begins
    at the playbook's folder and stays in it.
    """

    kind: Literal["sql", "feast"]
    path: str
    entity: str
    table: str | None = None
    time: str | None = None


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature: an aggregate over signals (`from`), or a value derived from other features (`derive`).

    `window` and `hop` are durations such as `7d` or `1h`; without a window the value counts since ever.
    `unit` (h, d) belongs to `time_since`. `default` is given when nothing has been seen; without it the
    value is missing.

    `ratio` divides the sum of `value` by the sum of `over`: numbers, or conditions that count 1 where they hold;
    without `over` it divides by the number of signals. `slope` is the trend, per day, of the sums of its hops
    (`of: sum`, counts when there is no `value`) or of their means (`of: mean`). `approximate` lets `distinct`
    count more than `distinct_max` different values.

    `column` is what the feature is called by the `reader` of its view (for Feast: `feature view:feature`).
    """

    id: str
    sources: str | tuple[str, ...] | None = msgspec.field(default=None, name="from")
    where: str | None = None
    value: str | None = None
    over: str | None = None
    aggregate: Aggregate | None = None
    derive: str | None = None
    window: str | None = None
    hop: str | None = None
    unit: Literal["h", "d"] | None = None
    type: ValueType | None = None
    default: Scalar | None = None
    of: Literal["sum", "mean"] | None = None
    distinct_max: int | None = None
    approximate: bool | None = None
    column: str | None = None
    description: str | None = None

    @property
    def signal_types(self) -> tuple[str, ...]:
        if self.sources is None:
            return ()
        return (self.sources,) if isinstance(self.sources, str) else self.sources


class ViewSignal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signal of a view's test; `id` defaults to its position in the list."""

    type: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    data: Mapping[str, object] = {}
    id: str | None = None


class ViewTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """These signals, this read, these values (`null` expects a missing value)."""

    name: str
    signals: tuple[ViewSignal, ...] = ()
    read_at: Annotated[datetime, msgspec.Meta(tz=True)]
    expect: Mapping[str, Scalar | None]


class FeatureView(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A versioned group of features over one kind of entity, with one owner, one set of purposes, one freshness.

    `lateness` is how late a signal may come and still be seen by a read as of an earlier time: windows keep tiles
    enough that every read up to `lateness` before the newest signal finds its window whole. Without it that holds
    for one hop. A signal that comes later still counts wherever its tile is kept; where it is not, a read whose
    window reaches that far back has no answer, rather than one without the signal. `regions` are those in which the
    view may exist, all when empty: elsewhere nothing is folded for it, and its features are missing. With a
    `reader` nothing is folded at all: the values are read from where somebody else keeps them.
    """

    view: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    entity: EntityKind
    owner: str
    purposes: tuple[str, ...]
    features: tuple[FeatureSpec, ...]
    freshness: str | None = None
    lateness: str | None = None
    regions: tuple[str, ...] = ()
    tests: tuple[ViewTest, ...] = ()
    reader: ReaderSpec | None = None
    description: str | None = None


def epoch_ms(at: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC of an aware datetime."""
    seconds = int(at.replace(microsecond=0).timestamp())
    return seconds * 1000 + at.microsecond // 1000
