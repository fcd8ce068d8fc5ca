"""Leaks: features that could know the label they are to predict, found from what each rests on."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from opportune.core.features.compiled import CompiledViews


class Leak(msgspec.Struct, frozen=True, order=True):
    """`feature` reads `field` of `signal` (empty where signals are only counted), of which the label is made.

    `through` is the feature it is derived from that reads it, or the feature itself.
    """

    feature: str
    signal: str
    field: str
    through: str

    def __str__(self) -> str:
        what = f"field `{self.field}` of `{self.signal}`" if self.field else f"every `{self.signal}`"
        way = "" if self.through == self.feature else f" through `{self.through}`"
        return (
            f"feature `{self.feature}` reads {what}{way}, and the label is made of `{self.signal}`: one that is said "
            "to have happened earlier would tell the answer, so leave the feature out"
        )


def leaks_of(views: CompiledViews, names: Iterable[str], label_signals: Collection[str]) -> tuple[Leak, ...]:
    """Every way in which one of these features rests on a signal type that a label is made of, sorted."""
    found = set()
    for name in names:
        for each in (name, *views.lineage(name).features):
            for signal, field in views.features[each].fields:
                if signal in label_signals:
                    found.add(Leak(name, signal, field, each))
    return tuple(sorted(found))
