"""The columns of a batch's file: which there may be, of which type, and what they say of each customer.

`customer` is always there. `account`, `timezone`, `consent.<purpose>/<channel>` and names of features say what is to be
seen: then that counts and nothing is looked up. `context.<name>` is what is happening, as the moment declares it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.catalog import Moment
from opportune.core.contacts import local_time
from opportune.core.customers import ConsentStatus, consent_key
from opportune.core.decisions.batch import Rows
from opportune.core.decisions.brain import Brain
from opportune.core.expressions import EvaluationError
from opportune.core.expressions.columns import Column, column, numbers, repeated, texts
from opportune.core.expressions.times import zone_of
from opportune.ports import ColumnKind, Columns

CUSTOMER, ACCOUNT, TIMEZONE, CONTEXT, CONSENT = "customer", "account", "timezone", "context.", "consent."
FITS: Final[Mapping[str, tuple[ColumnKind, ...]]] = {
    "bool": ("bool",),
    "int": ("int", "double"),  # whole numbers only: files without a mark for "missing" hold them as doubles
    "double": ("double", "int"),
    "string": ("string",),
    "timestamp": ("timestamp", "int"),
    "duration": ("duration", "int"),
    "list(string)": ("list",),
    "list(int)": ("list",),
    "list(double)": ("list",),
}
STATUSES: Final = frozenset(get_args(ConsentStatus))


class BatchError(ValueError):
    """A file that cannot be decided about: names the file, the column and the row, and the fix."""


class Layout(msgspec.Struct, frozen=True):
    """The columns of one file, by what they are: name -> type. `kinds` are what the file holds."""

    path: str
    kinds: Mapping[str, ColumnKind]
    features: Mapping[str, str]
    context: Mapping[str, str]
    consents: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    @property
    def says(self) -> tuple[str, ...]:
        """The columns that say what is to be seen of a customer."""
        others = (name for name in self.kinds if name != CUSTOMER and not name.startswith(CONTEXT))
        return tuple(others)

    def at(self, name: str, row: int | None = None) -> str:
        return f"`{self.path}`, column `{name}`" + ("" if row is None else f", row {row:,}")


def layout_of(brain: Brain, moment: Moment, path: str, kinds: Mapping[str, ColumnKind]) -> Layout:
    """The file's columns against the release; BatchError for one it does not know, or of another type."""
    if CUSTOMER not in kinds:
        raise BatchError(f"`{path}` has no column `{CUSTOMER}`: it says whom to decide about")
    known = {consent_key(purpose, channel): None for purpose in brain.purposes for channel in brain.channels}
    types: dict[str, str] = {CUSTOMER: "string", ACCOUNT: "string", TIMEZONE: "string"}
    types |= {f"{CONSENT}{key}": "string" for key in known}
    types |= {f"{CONTEXT}{name}": type_ for name, type_ in moment.context.items()}
    types |= {name: brain.views.types[name] for name in brain.views.names}
    layout = Layout(
        path,
        kinds,
        {name: types[name] for name in kinds if name in brain.views.names},
        {name: types[name] for name in kinds if name.startswith(CONTEXT) and name in types},
        tuple(name for name in kinds if name.startswith(CONSENT) and name in types),
        tuple(name for name in kinds if types.get(name) == "string"),
    )
    plain = path.lower().removesuffix(".gz").endswith((".csv", ".tsv"))
    for name, kind in kinds.items():
        if name not in types:
            raise BatchError(f"{layout.at(name)}: {_unknown(name, types)}")
        # A file without types: texts are read as such, and a column that looks like text may hold one wrong value.
        fits = plain and "string" in (types[name], kind)
        if name not in (CUSTOMER, ACCOUNT) and not fits and kind not in FITS.get(types[name], ()):
            raise BatchError(f"{layout.at(name)}: {_wrong(types[name], kind)}")
    return layout


def customers_of(layout: Layout, columns: Columns, first: int) -> list[str]:
    """Who the rows are about; `first` is the number of the first row."""
    values, missing = _parts(columns[CUSTOMER])
    if missing is not None and missing.any():
        raise BatchError(f"{layout.at(CUSTOMER, first + int(missing.argmax()))}: there is no customer")
    return [value if isinstance(value, str) else str(value) for value in values.tolist()]


def contexts_of(
    layout: Layout, context: Mapping[str, Any], columns: Columns, count: int, first: int
) -> list[dict[str, Any]]:
    """What is happening to each customer, row by row; `context` as far as no column says it."""
    found: list[dict[str, Any]] = [dict(context) for _ in range(count)]
    for name, type_ in layout.context.items():
        _checked(layout, name, type_, columns[name], first)
        values, missing = _parts(columns[name])
        cast: Callable[[Any], Any] = {"int": int, "double": float}.get(type_, lambda value: value)
        for row, value in enumerate(values.tolist()):
            if value is not None and (missing is None or not missing[row]):
                found[row][name.removeprefix(CONTEXT)] = cast(value)
    return found


def rows_of(
    brain: Brain, layout: Layout, moment: str, channels: tuple[str, ...], context: Mapping[str, Any],
    columns: Columns, customers: Sequence[str], ids: Sequence[str], now_ms: int, first: int,
) -> Rows:  # fmt: skip
    """What the file says of some customers; `first` is the number of the first row."""
    count = len(customers)
    accounts = _accounts(columns, count)
    types = {variable.name: variable.type for variable in brain.policies.variables}
    minutes, days = _local(brain, layout, columns, count, now_ms, first)
    consents = {
        consent_key(purpose, channel): repeated("string", "unknown", count)
        for purpose in brain.purposes
        for channel in channels
    }
    for name in layout.consents:
        consents[name.removeprefix(CONSENT)] = _status(layout, name, columns[name], first)
    return Rows(
        moment=moment,
        channels=channels,
        at_ms=now_ms,
        ids=ids,
        units=[account or customer for account, customer in zip(accounts, customers, strict=True)],
        features={
            name: _checked(layout, name, type_, columns[name], first) for name, type_ in layout.features.items()
        },
        context={name: repeated(types[f"{CONTEXT}{name}"], value, count) for name, value in context.items()}
        | {
            name.removeprefix(CONTEXT): _checked(layout, name, type_, columns[name], first)
            for name, type_ in layout.context.items()
        },
        consents=consents,
        accounts=np.array([account is not None for account in accounts], np.bool_),
        minutes=minutes,
        days=days,
    )


def _parts(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """(the values, where one is missing)."""
    if not np.ma.isMaskedArray(values):
        return values, None
    return np.ma.getdata(values), np.ma.getmaskarray(values)


def _checked(layout: Layout, name: str, type_: str, values: NDArray[Any], first: int) -> Column:
    """A column of the declared type; BatchError with the row of the first value that is not."""
    data, missing = _parts(values)
    if type_ == "string" and data.dtype == object:
        return texts(_listed(data, missing))
    if data.dtype == object:
        kept = [_read(type_, value) for value in _listed(data, missing)]
        made = column(type_, kept, name)
        _none(layout, name, type_, made.failed, first)
        return made
    if type_ == "int" and data.dtype == np.float64:
        absent = np.isnan(data) if missing is None else missing | np.isnan(data)
        broken = ~absent & ((data != np.rint(data)) | (np.abs(data) >= 2.0**63))
        _none(layout, name, type_, broken, first)
        return numbers("int", np.where(absent, 0.0, data).astype(np.int64), absent)
    if missing is not None:
        data = np.where(missing, np.zeros(1, data.dtype), data)
    made = numbers(type_, data, missing)
    if type_ in ("timestamp", "duration"):  # their range is narrower than that of numbers
        made = column(type_, _listed(data, missing))
        _none(layout, name, type_, made.failed, first)
    return made


def _read(type_: str, value: object) -> object:
    """A number written as text, as far as it is one."""
    if not isinstance(value, str) or type_ not in ("int", "double"):
        return value
    try:
        return int(value) if type_ == "int" else float(value)
    except ValueError:
        return value


def _listed(data: NDArray[Any], missing: NDArray[np.bool_] | None) -> list[Any]:
    """The values one by one, None where one is missing."""
    if missing is not None and missing.any():
        data = data.astype(object)
        data[missing] = None
    values: list[Any] = data.tolist()
    return values


def _none(layout: Layout, name: str, type_: str, broken: NDArray[np.bool_] | None, first: int) -> None:
    if broken is not None and broken.any():
        raise BatchError(f"{layout.at(name, first + int(broken.argmax()))}: the value is no {type_}")


def _status(layout: Layout, name: str, values: NDArray[Any], first: int) -> Column:
    made = _checked(layout, name, "string", values, first)
    table = ["unknown" if value is None else value for value in made.table or ()]
    wrong = np.array([value not in STATUSES for value in table], np.bool_)[made.values]
    if wrong.any():
        listed = ", ".join(get_args(ConsentStatus))
        raise BatchError(f"{layout.at(name, first + int(wrong.argmax()))}: a consent is one of {listed}")
    return Column("string", made.values, table)


def _accounts(columns: Columns, count: int) -> list[str | None]:
    if ACCOUNT not in columns:
        return [None] * count
    return [None if value is None else str(value) for value in _listed(*_parts(columns[ACCOUNT]))]


def _local(
    brain: Brain, layout: Layout, columns: Columns, count: int, now_ms: int, first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(minute of each customer's day, day of the week)."""
    default = brain.app.timezone
    zones = repeated("string", None, count)
    if TIMEZONE in columns:
        zones = _checked(layout, TIMEZONE, "string", columns[TIMEZONE], first)
    table = [default if zone is None else str(zone) for zone in zones.table or ()]
    for place, zone in enumerate(table):
        try:
            zone_of(zone)
        except EvaluationError as error:
            row = first + int((zones.values == place).argmax())
            raise BatchError(f"{layout.at(TIMEZONE, row)}: {error}") from None
    times = np.array([local_time(now_ms, zone, default) for zone in table], np.int64)[zones.values]
    return times[:, 0], times[:, 1]


def _wrong(type_: str, kind: ColumnKind) -> str:
    if type_ not in FITS:
        return f"a feature of type {type_} cannot come from a file: leave the column out"
    return f"it holds {kind}, and {type_} is declared: convert it"


def _unknown(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = get_close_matches(name, names, 1)
    if near:
        return f"the release knows no such name; did you mean `{near[0]}`?"
    return (
        "the release knows no such name: a file has `customer`, `account`, `timezone`, `consent.<purpose>/<channel>`, "
        "`context.<name>` and features by their names"
    )
