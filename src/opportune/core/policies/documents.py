"""The documents of policies as code: policy, inline tests, the variables it reads, the candidates it judges."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Effect = Literal["forbid", "permit", "require_review", "adjust", "force"]
PolicyClass = Literal["legal", "consent", "contact", "suitability", "commercial"]
CLASS_ORDER: tuple[PolicyClass, ...] = ("legal", "consent", "contact", "suitability", "commercial")
HARD_CLASSES: frozenset[PolicyClass] = frozenset(("legal", "consent"))  # nothing overrides these
VariableKind = Literal["request", "candidate", "channel"]


class PolicyError(ValueError):
    """A policy that does not compile: policy, field, place in its expression, nearest known name."""

    def __init__(
        self, policy: str, field: str, message: str, line: int = 1, column: int = 1, nearest: str | None = None
    ) -> None:
        self.policy = policy
        self.field = field
        self.message = message
        self.line = line
        self.column = column
        self.nearest = nearest
        super().__init__(message)

    def __str__(self) -> str:
        hint = f"; did you mean `{self.nearest}`?" if self.nearest else ""
        return f"policy `{self.policy}`, {self.field}, line {self.line} column {self.column}: {self.message}{hint}"


class PolicyTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `when` must say for given values: true, false, or `missing` when a value it needs is not given.

    Timestamps and durations may be written as RFC 3339 and as `36h`.
    """

    name: str
    given: dict[str, Any] = {}
    expect: bool | Literal["missing"]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"class_": "class"}):
    """One rule: its effect on the candidates for which `when` is true.

    reason: a plain sentence; `{name}` stands for a variable's value. adjust: a CEL double added to a candidate's
    value, only with the effect `adjust`. priority: higher ones are named first. valid_from, valid_to: RFC 3339
    date-times, or dates in UTC; a date in `valid_to` counts to its end, a date-time is the first moment that does
    not count. explore: false means that the candidates it hits are never tried while another is better.
    """

    id: str
    effect: Effect
    class_: PolicyClass
    when: str = "true"
    reason: str
    owner: str
    version: int = 1
    priority: int = 0
    adjust: str | None = None
    obligations: tuple[str, ...] = ()
    explore: bool = True
    valid_from: str | None = None
    valid_to: str | None = None
    tests: tuple[PolicyTest, ...] = ()


class Variable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name policies may read, its type (see `expressions.TYPES`) and where its value comes from.

    kind: `request` one value per decision; `candidate` a column known when the release is made; `channel` one value
    per channel, known per decision.
    """

    name: str
    type: str
    kind: VariableKind
    description: str = ""


class CandidateTable(msgspec.Struct, frozen=True):
    """The candidates of a release: bit i of every mask is row i; None in a column is a missing value."""

    ids: tuple[str, ...]
    columns: Mapping[str, tuple[object, ...]]
    channels: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, column in (*self.columns.items(), ("channels", self.channels)):
            if len(column) != len(self.ids):
                raise ValueError(f"the column `{name}` has {len(column)} values for {len(self.ids)} candidates")


def canonical(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """Return the policies in the order they are named: class, then priority (highest first), then id."""
    return tuple(
        sorted(policies, key=lambda policy: (CLASS_ORDER.index(policy.class_), -policy.priority, policy.id))
    )
