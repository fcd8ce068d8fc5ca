"""The brain: what a release compiles to, laid out so that a decision only reads arrays and bitsets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.core.bitsets import Windows
from opportune.core.catalog import Candidate, Channel, Moment, Prior
from opportune.core.contacts import LimitRule, QuietRule, VolumeRule
from opportune.core.decisions.pools import Pools
from opportune.core.features import CompiledViews
from opportune.core.models import CompiledModel
from opportune.core.playbook import App
from opportune.core.policies import CompiledPolicies, Policy, Requirements
from opportune.core.signals import SignalContract

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Further(msgspec.Struct, frozen=True):
    """A model beside that of the uplift: its name, and what it says of the average training row, per offer."""

    name: str
    model: CompiledModel
    usual: tuple[float, ...]


class Brain(msgspec.Struct, frozen=True):
    """Everything a decision needs from its release. Masks are bitsets over `candidates`, in their order.

    `offers` is the fixed order in which the model scores, `priors` are the owners' beliefs in that order, and
    `offer_of[i]` is the place of candidate i's offer in it (`places`: the same as an array). `margins`, `costs` and
    `fatigue` are money per candidate; `levers` and, per moment, `weights` are factors for arbitration by `pcvl`.
    `pools` gives sets of candidates laid out for arbitration.
    `windows` say which candidates are not valid at an instant. `purposes` are the
    purposes offers rest on. `required` judges what offers require, jointly. `by_id` gives a candidate by its id,
    `rules` and `rule_names` each policy by id and the names its condition reads, `contracts` the newest contract of
    each signal type, for explanations. `further` are models beside `model` by what they predict, see
    `decisions.further`.
    """

    release: str
    app: App
    candidates: tuple[Candidate, ...]
    by_id: Mapping[str, Candidate]
    offers: tuple[str, ...]
    offer_of: tuple[int, ...]
    priors: tuple[Prior, ...]
    places: Ints
    margins: Floats
    costs: Floats
    fatigue: Floats
    windows: Windows
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
    required: Requirements
    rules: Mapping[str, Policy]
    rule_names: Mapping[str, tuple[str, ...]]
    model: CompiledModel | None
    model_name: str | None
    levers: Floats
    weights: Mapping[str, Floats]
    pools: Pools
    contracts: Mapping[str, SignalContract] = {}
    volumes: tuple[VolumeRule, ...] = ()
    further: Mapping[str, Further] = {}

    def mask_of(self, channels: tuple[str, ...]) -> int:
        """The candidates in any of these channels."""
        mask = 0
        for channel in channels:
            mask |= self.channel_masks.get(channel, 0)
        return mask
