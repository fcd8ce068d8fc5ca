"""The brain: what a release compiles to, laid out so that a decision only reads arrays and bitsets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.catalog import Candidate, Channel, Moment, Prior
from opportune.core.contacts import LimitRule, QuietRule, VolumeRule
from opportune.core.decisions.pools import Pools
from opportune.core.features import CompiledViews
from opportune.core.models import CompiledModel
from opportune.core.playbook import App
from opportune.core.policies import CompiledPolicies, Policy
from opportune.core.signals import SignalContract

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Brain(msgspec.Struct, frozen=True):
    """Everything a decision needs from its release. Masks are bitsets over `candidates`, in their order.

    `offers` is the fixed order in which the model scores, `priors` are the owners' beliefs in that order, and
    `offer_of[i]` is the place of candidate i's offer in it (`places`: the same as an array). `margins`, `costs` and
    `fatigue` are money per candidate; `levers` and, per moment, `weights` are factors for arbitration by `pcvl`.
    `pools` gives sets of candidates laid out for arbitration.
    `windows` are (first ms, last ms or None) per candidate. `purposes` are the
    purposes offers rest on. `requirements` are the policies that stand for what offers require. `rules` and
    `rule_names` give each policy by id and the names its condition reads, `contracts` the newest contract of each
    signal type, for explanations.
    """

    release: str
    app: App
    candidates: tuple[Candidate, ...]
    offers: tuple[str, ...]
    offer_of: tuple[int, ...]
    priors: tuple[Prior, ...]
    places: Ints
    margins: Floats
    costs: Floats
    fatigue: Floats
    windows: tuple[tuple[int, int | None], ...]
    channels: Mapping[str, Channel]
    channel_masks: Mapping[str, int]
    offer_masks: Mapping[str, int]
    purposes: tuple[str, ...]
    moments: Mapping[str, Moment]
    limits: tuple[LimitRule, ...]
    quiet: tuple[QuietRule, ...]
    contact_keep_ms: int
    grant_ttl_ms: Mapping[str, int]
    views: CompiledViews
    policies: CompiledPolicies
    requirements: frozenset[str]
    rules: Mapping[str, Policy]
    rule_names: Mapping[str, tuple[str, ...]]
    model: CompiledModel | None
    model_name: str | None
    levers: Floats
    weights: Mapping[str, Floats]
    pools: Pools
    contracts: Mapping[str, SignalContract] = {}
    volumes: tuple[VolumeRule, ...] = ()

    def mask_of(self, channels: tuple[str, ...]) -> int:
        """The candidates in any of these channels."""
        mask = 0
        for channel in channels:
            mask |= self.channel_masks.get(channel, 0)
        return mask


def places_of(mask: int, count: int) -> Ints:
    """`indices` as an array, for many candidates: `count` is how many there are in all."""
    packed = np.frombuffer(mask.to_bytes((count + 7) // 8, "little"), np.uint8)
    return np.flatnonzero(np.unpackbits(packed, count=count, bitorder="little"))


def indices(mask: int) -> list[int]:
    """The places of the bits set, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found
