"""What an address says about a page's tables: filters, order, search; and the links that change one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from opportune.core.decisions.explain import WhyNot
from opportune.doors.console.phrases import STAGE_ORDER
from opportune.doors.console.security import AnyRequest
from opportune.views import DecisionView
from opportune.views.live import DISPOSITIONS

SORTS = ("fate", "offer", "channel", "value", "probability")


def quoted(text: str) -> str:
    """A text as one part of an address."""
    return quote(text, safe="")


class Filters(msgspec.Struct, frozen=True):
    """The live page's narrowing."""

    disposition: str | None = None
    customer: str | None = None

    @staticmethod
    def of(request: AnyRequest) -> Filters:
        disposition = request.query_params.get("disposition")
        customer = request.query_params.get("customer", "").strip()[:200]
        return Filters(disposition if disposition in DISPOSITIONS else None, customer or None)

    def address(self, path: str = "/console", **changes: str | None) -> str:
        """The address with these filters and the changes; None takes one away."""
        wanted = {"disposition": self.disposition, "customer": self.customer, **changes}
        query = urlencode({name: value for name, value in wanted.items() if value})
        return f"{path}?{query}" if query else path


class CandidateTable(msgspec.Struct, frozen=True):
    """The why-not table as asked for: `rows` of `total`, found by `find`, ordered by `sort`."""

    rows: tuple[WhyNot, ...]
    total: int
    allowed: int
    find: str
    sort: str
    down: bool
    path: str
    value_max: float

    def sort_link(self, column: str) -> str:
        down = column in ("value", "probability") if column != self.sort else not self.down
        query = {"sort": column, "dir": "desc" if down else "asc", **({"find": self.find} if self.find else {})}
        return f"{self.path}?{urlencode(query)}#candidates"

    def aria_sort(self, column: str) -> str:
        return "none" if column != self.sort else "descending" if self.down else "ascending"


def candidate_table(view: DecisionView, query: Mapping[str, Any]) -> CandidateTable:
    """All candidates, or those in whose words every word of `find` occurs."""
    find = str(query.get("find", "")).strip()[:200]
    sort = str(query.get("sort", "fate"))
    sort = sort if sort in SORTS else "fate"
    down = query.get("dir") == "desc"
    wanted = find.casefold().split()
    rows = [one for one in view.candidates if all(word in searchable(one) for word in wanted)]
    rows.sort(key=lambda one: _order(one, sort), reverse=down)
    if sort in ("value", "probability"):
        rows.sort(key=lambda one: one.value is None)
    values = [abs(one.value) for one in view.candidates if one.value is not None]
    return CandidateTable(
        tuple(rows), len(view.candidates), len(values), find, sort, down,
        f"/console/decisions/{quoted(view.id)}", max(values, default=0.0),
    )


def searchable(one: WhyNot) -> str:
    """What the filter box looks through."""
    parts = (one.title, one.offer, one.channel, one.stage, one.rule, one.reason, *one.also, *one.facts)
    return " ".join(parts).casefold()


def _order(one: WhyNot, sort: str) -> tuple[Any, ...]:
    if sort == "offer":
        return one.title.casefold(), one.channel
    if sort == "channel":
        return one.channel, one.title.casefold()
    if sort == "value":
        return (one.value or 0.0,)
    if sort == "probability":
        return (one.probability or 0.0,)
    place = STAGE_ORDER.index(one.stage) if one.stage in STAGE_ORDER else len(STAGE_ORDER)
    return place, -(one.value or 0.0), one.title.casefold(), one.channel
