"""What decisions see of customers (`records.Seen`) laid out as columns, for deciding about many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opportune.core.decisions.batch import Rows
from opportune.core.decisions.brain import Brain
from opportune.core.decisions.records import Seen
from opportune.core.expressions.columns import column


def rows_of_seen(
    brain: Brain,
    moment: str,
    channels: tuple[str, ...],
    ids: Sequence[str],
    seen: Sequence[Seen],
    contexts: Sequence[Mapping[str, Any]],
) -> Rows:
    """The rows of what was seen of each customer at one instant, with one room for all; `contexts` are what is
    happening to each."""
    types = {variable.name: variable.type for variable in brain.policies.variables}
    names = dict.fromkeys(name for context in contexts for name in context)
    return Rows(
        moment=moment,
        channels=channels,
        at_ms=seen[0].at_ms if seen else 0,
        ids=ids,
        units=[one.unit for one in seen],
        features={
            name: column(types[name], [one.features.get(name) for one in seen], name) for name in brain.views.names
        },
        context={
            name: column(types[f"context.{name}"], [context.get(name) for context in contexts], f"context.{name}")
            for name in names
        },
        consents={
            key: column("string", [one.consents.get(key) for one in seen])
            for key in dict.fromkeys(key for one in seen for key in one.consents)
        },
        accounts=np.array([one.account is not None for one in seen], np.bool_),
        minutes=np.array([one.local_minute for one in seen], np.int64),
        days=np.array([one.local_day for one in seen], np.int64),
        contacts=[one.contacts for one in seen],
        room=seen[0].room if seen else {},
        beliefs=[one.beliefs for one in seen] if any(one.beliefs is not None for one in seen) else None,
    )
