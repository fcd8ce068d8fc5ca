"""The glass-box trainer: explainable boosting (Lou et al. 2013, Nori et al. 2019) whose terms are the card's tables.

Of the effect of an offer the terms are those of a doubly robust learner (Kennedy 2023): a machine is fitted to what
each row says of the effect once what was expected anyway is taken out, and its terms are the explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from opportune.adapters.ebm.spread import log_variance
from opportune.adapters.ebm.tables import CATEGORIES_MAX, Bins, Floats, fed, head_of, predicted, types_of
from opportune.core.models import (
    AdditiveHead,
    FeatureTable,
    Fit,
    Form,
    LearnError,
    OfferHeads,
    TrainingSet,
    fit_weights,
    sigmoid,
)
from opportune.core.models.binning import bins_of, feature_tables

FOLDS = 2
OURS = frozenset({"style", "increasing", "decreasing", "rows_per_arm_min"})
THEIRS: Mapping[str, type] = {
    "interactions": int, "max_bins": int, "outer_bags": int, "inner_bags": int, "learning_rate": float,
    "max_rounds": int, "early_stopping_rounds": int, "min_samples_leaf": int, "max_leaves": int,
    "smoothing_rounds": int, "greedy_ratio": float, "random_state": int, "validation_size": float,
}  # fmt: skip
DEFAULTS: Mapping[str, Any] = {
    "interactions": 2, "outer_bags": 8, "max_rounds": 2_000, "learning_rate": 0.02, "random_state": 7, "max_bins": 32,
    "min_samples_leaf": 20, "validation_size": 0.15,
}  # fmt: skip
CALMER: Mapping[str, Any] = {"max_bins": 8, "interactions": 0, "min_samples_leaf": 50, "learning_rate": 0.01}
"""What a row says of an effect is mostly noise: coarser bins, no pairs, more rows for each step."""


class EbmTrainer:
    """Implements Trainer with InterpretML; the same examples and settings give the same card.

    `settings` are those of ExplainableBoostingClassifier by their names there, and: `style` (`dr`: the effect itself,
    doubly robust; `t`: one machine with the offer and one without), `increasing` and `decreasing` (features, with
    commas, with which what is predicted may only rise or fall), `rows_per_arm_min`.
    """

    def __init__(self, settings: Mapping[str, bool | int | float | str] | None = None) -> None:
        """LearnError for a setting that there is not, or of another type."""
        given = dict(settings or {})
        for name, value in given.items():
            if name not in THEIRS and name not in OURS:
                known = ", ".join(sorted(OURS | set(THEIRS)))
                raise LearnError(f"algorithm ebm has no setting `{name}`: there are {known}")
            if name in THEIRS and (isinstance(value, bool | str) or (THEIRS[name] is int and value != int(value))):
                raise LearnError(f"setting `{name}` of algorithm ebm must be a number, not {value!r}")
        self._style = given.pop("style", "dr")
        if self._style not in ("dr", "t"):
            raise LearnError(f"setting `style` of algorithm ebm is `{self._style}`: it may be dr or t")
        self._signs = {
            name.strip(): sign
            for key, sign in (("increasing", 1), ("decreasing", -1))
            for name in str(given.pop(key, "")).split(",") if name.strip()
        }  # fmt: skip
        self._least = int(given.pop("rows_per_arm_min", 50))
        self._given = frozenset(given)
        self._settings: dict[str, Any] = {**DEFAULTS} | {name: THEIRS[name](value) for name, value in given.items()}

    @property
    def name(self) -> str:
        return f"explainable boosting ({self._style}), interpret-core {version('interpret-core')}"

    def fit(self, examples: TrainingSet, offers: Sequence[str]) -> Fit:
        """Tables for every offer with enough rows; raises LearnError when there are none."""
        try:
            import interpret.glassbox  # noqa: F401 - to say at once that it is not there
        except ImportError:
            raise LearnError("algorithm ebm needs InterpretML: install opportune[glassbox]") from None
        asked = self._asked(examples, offers)
        tables = feature_tables(asked, int(self._settings["max_bins"]) - 2, CATEGORIES_MAX)
        if not tables:
            raise LearnError(f"no feature varies over {len(asked.examples)} examples: choose others")
        for name in self._signs:
            if name not in asked.feature_names:
                raise LearnError(f"setting increasing or decreasing names `{name}`: it is no feature of this model")
        heads = tuple(self._heads(asked, tables, offers))
        form: Form = "amount" if asked.target == "value" else "chance"
        if asked.target == "uplift":
            form = "effect" if self._style == "dr" else "odds"
        return Fit(tables, heads, form)

    def _asked(self, examples: TrainingSet, offers: Sequence[str]) -> TrainingSet:
        """The rows that say something of what is asked for, of offers with enough of them."""
        target = examples.target
        rows = [row for row in examples.examples if row.offer in set(offers)]
        if target in ("acceptance", "fatigue"):
            rows = [row for row in rows if row.treated]
        if target == "value":
            rows = [row for row in rows if row.bought and row.amount > 0.0]
        arms = ((True, False),) if target != "uplift" else ((True,), (False,))
        kept = {
            offer
            for offer in offers
            if all(sum(r.offer == offer and r.treated in arm for r in rows) >= self._least for arm in arms)
        }
        if not kept:
            beside = " and as many without" if target == "uplift" else ""
            raise LearnError(f"no offer has {self._least} examples to learn {target} from{beside}: collect more")
        return msgspec.structs.replace(examples, examples=tuple(row for row in rows if row.offer in kept))

    def _heads(
        self, asked: TrainingSet, tables: tuple[FeatureTable, ...], offers: Sequence[str]
    ) -> Iterator[OfferHeads]:
        every = Rows.of(asked, tables)
        for offer in offers:
            here = np.array([row.offer == offer for row in asked.examples])
            if not here.any():
                continue
            rows = every.some(here)
            if asked.target != "uplift" and asked.target != "value" and len(np.unique(rows.bought)) < 2:
                continue
            offered, baseline, spread = self._learned(asked.target, rows, tables)
            on, got = rows.treated, rows.bought
            counts = (on.sum(), (~on).sum(), got[on].sum(), got[~on].sum())
            yield OfferHeads(offer, offered, baseline, spread, *(int(count) for count in counts))

    def _learned(
        self, target: str, rows: Rows, tables: tuple[FeatureTable, ...]
    ) -> tuple[AdditiveHead, AdditiveHead, AdditiveHead]:
        flat = AdditiveHead(0.0, tuple((0.0,) * table.bin_count for table in tables))
        if target == "value":
            machine = self._machine(rows, tables, np.log(rows.amount), chances=False)
            head = _smeared(head_of(machine, tables), rows)
            return head, flat, self._spread(rows, tables, lambda bag: _said(machine, tables, bag))
        if target != "uplift":
            machine = self._machine(rows, tables, rows.bought, chances=True)
            spread = self._spread(rows, tables, lambda bag: _said(machine, tables, bag, chances=True))
            return head_of(machine, tables), flat, spread
        without = rows.some(~rows.treated)
        base = self._machine(without, tables, without.bought, chances=True)
        if self._style == "t":
            with_it = rows.some(rows.treated)
            on = self._machine(with_it, tables, with_it.bought, chances=True)

            def both(bag: int) -> Callable[[Bins], Floats]:
                one, other = _said(on, tables, bag, chances=True), _said(base, tables, bag, chances=True)
                return lambda bins: one(bins) - other(bins)

            return head_of(on, tables), head_of(base, tables), self._spread(rows, tables, both)
        effect = self._machine(
            rows, tables, self._pseudo_outcomes(rows, tables), chances=False, weighted=False, calmer=True
        )
        spread = self._spread(rows, tables, lambda bag: _said(effect, tables, bag))
        return head_of(effect, tables), head_of(base, tables), spread

    def _pseudo_outcomes(self, rows: Rows, tables: tuple[FeatureTable, ...]) -> Floats:
        """What each row says of its effect (Kennedy 2023): the difference expected, and how far the row itself was
        from what was expected of it, by the inverse of the share of its arm. Expected is what machines say that have
        not seen the row, nor another of its unit."""
        expected = np.zeros((2, len(rows.bought)))
        for fold in range(FOLDS):
            out = rows.fold == fold
            for arm in (0, 1):
                learn = rows.some(~out & (rows.treated == bool(arm)))
                if len(np.unique(learn.bought)) < 2:
                    expected[arm, out] = learn.bought.mean() if len(learn.bought) else 0.0
                    continue
                machine = self._machine(learn, tables, learn.bought, chances=True, bags=1)
                expected[arm, out] = sigmoid(predicted(head_of(machine, tables), rows.bins[out]))
        share = rows.treated.mean()
        arm = np.where(rows.treated, rows.weight / share, -rows.weight / (1.0 - share))
        own = np.where(rows.treated, expected[1], expected[0])
        found: Floats = expected[1] - expected[0] + arm * (rows.bought - own)
        return found

    def _spread(
        self, rows: Rows, tables: tuple[FeatureTable, ...], of: Callable[[int], Callable[[Bins], Floats]]
    ) -> AdditiveHead:
        bags = [of(bag) for bag in range(int(self._settings["outer_bags"]))]
        return log_variance(tables, rows.bins, bags, float(self._settings["validation_size"]))

    def _machine(
        self, rows: Rows, tables: tuple[FeatureTable, ...], wanted: Floats, *, chances: bool, weighted: bool = True,
        bags: int | None = None, calmer: bool = False,
    ) -> Any:  # noqa: ANN401 - the library has no types
        """A machine fitted to the rows, on one core; `calmer` where each row says little and may be far out."""
        from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor

        settings = dict(self._settings)
        if bags is not None:
            settings["outer_bags"] = bags
        if calmer:
            settings |= {name: value for name, value in CALMER.items() if name not in self._given}
        if len(tables) < 2:
            settings["interactions"] = 0
        make = ExplainableBoostingClassifier if chances else ExplainableBoostingRegressor
        signs = [self._signs.get(table.name, 0) for table in tables]
        machine = make(
            feature_names=[table.name for table in tables], feature_types=types_of(tables), n_jobs=1,
            monotone_constraints=signs if any(signs) else None, **settings,
        )  # fmt: skip
        if chances and len(np.unique(wanted)) < 2:
            raise LearnError("everybody bought, or nobody did, with or without an offer: collect more examples")
        machine.fit(fed(tables, rows.bins), wanted, sample_weight=rows.weight if weighted else None)
        return machine


class Rows(msgspec.Struct, frozen=True):
    """Examples as columns. `weight` is 1 on average in each arm of an offer; `fold` is the same for all of a unit."""

    bins: Bins
    treated: NDArray[np.bool_]
    bought: Floats
    amount: Floats
    weight: Floats
    fold: NDArray[np.int64]

    @staticmethod
    def of(examples: TrainingSet, tables: tuple[FeatureTable, ...]) -> Rows:
        found = examples.examples
        number: dict[str, int] = {}
        folds = [number.setdefault(row.unit, len(number)) % FOLDS for row in found]
        return Rows(
            bins_of(tables, examples.feature_names, examples.examples),
            np.array([row.treated for row in found], np.bool_),
            np.array([row.bought for row in found], np.float64),
            np.array([row.amount for row in found], np.float64),
            fit_weights(found),
            np.array(folds, np.int64),
        )

    def some(self, where: NDArray[np.bool_]) -> Rows:
        """Those of a mask."""
        return Rows(*(part[where] for part in msgspec.structs.astuple(self)))


def _smeared(head: AdditiveHead, rows: Rows) -> AdditiveHead:
    """A head of logarithms whose exponentials have the mean of the amounts (Duan's smearing, 1983): the exponential of
    a mean logarithm lies below the mean."""
    lost = float(np.log(rows.amount.mean() / np.exp(predicted(head, rows.bins)).mean()))
    return msgspec.structs.replace(head, base=head.base + lost)


def _said(
    machine: Any, tables: tuple[FeatureTable, ...], bag: int, *, chances: bool = False  # noqa: ANN401 - interpret has no types
) -> Callable[[Bins], Floats]:
    head = head_of(machine, tables, bag)
    return lambda bins: sigmoid(predicted(head, bins)) if chances else predicted(head, bins)
