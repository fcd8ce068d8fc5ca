"""The peer of benchmarks/off_policy.py: Open Bandit Pipeline makes logs and says what it thinks of them.

Runs in an environment of its own: `python obp_peer.py DATA OUT SEEDS RESAMPLES`. Every log goes into OUT as .npz with
what obp 0.4.1 estimates of it, so that both sides see the same rows.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

ESTIMATORS = ("ips", "snips", "dm", "dr", "sndr", "switch_dr", "dr_os")
SYNTHETIC_ROWS = 10_000
FRESH_ROWS = 50_000


class _Absent(type):
    """A class that has every attribute: stands where torch's classes are named and never used."""

    def __getattr__(cls, name: str) -> Any:  # noqa: ANN401 - whatever is asked for
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(name)


def _absent(name: str) -> _Absent:
    return _Absent(name, (), {})


class _Torch(types.ModuleType):
    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever is asked for
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(name)


def without_torch() -> None:
    """obp imports torch for its neural policies, which are not used here: 800 MB less."""
    for name in ("torch", "torch.nn", "torch.optim"):
        sys.modules[name] = _Torch(name)


def estimators_of() -> list[Any]:
    """obp's own estimators, as its examples set them."""
    from obp import ope

    return [
        ope.InverseProbabilityWeighting(estimator_name="ips"),
        ope.SelfNormalizedInverseProbabilityWeighting(estimator_name="snips"),
        ope.DirectMethod(estimator_name="dm"),
        ope.DoublyRobust(estimator_name="dr"),
        ope.SelfNormalizedDoublyRobust(estimator_name="sndr"),
        ope.SwitchDoublyRobust(estimator_name="switch_dr", tau=1.0),
        ope.DoublyRobustWithShrinkage(estimator_name="dr_os", lambda_=100.0),
    ]


def judged(feedback: dict[str, Any], action_dist: Any, seed: int, len_list: int) -> dict[str, Any]:  # noqa: ANN401 - numbers
    """obp's estimates and bootstrap intervals of one log, with its cross-fitted logistic reward model."""
    from obp.ope import OffPolicyEvaluation, RegressionModel
    from sklearn.linear_model import LogisticRegression

    model = RegressionModel(
        n_actions=action_dist.shape[1], len_list=len_list, action_context=feedback["action_context"],
        base_model=LogisticRegression(max_iter=10_000, random_state=12345),
    )  # fmt: skip
    rewards = model.fit_predict(
        context=feedback["context"], action=feedback["action"], reward=feedback["reward"],
        pscore=feedback["pscore"], position=feedback["position"], n_folds=3, random_state=seed,
    )  # fmt: skip
    evaluation = OffPolicyEvaluation(bandit_feedback=feedback, ope_estimators=estimators_of())
    given = {"action_dist": action_dist, "estimated_rewards_by_reg_model": rewards}
    values = evaluation.estimate_policy_values(**given)
    intervals = evaluation.estimate_intervals(**given, n_bootstrap_samples=200, random_state=seed)
    return {
        "obp_rewards": rewards,
        "obp_values": np.array([values[name] for name in ESTIMATORS]),
        "obp_intervals": np.array(
            [[intervals[name]["95.0% CI (lower)"], intervals[name]["95.0% CI (upper)"]] for name in ESTIMATORS]
        ),
    }


def synthetic(out: Path, seeds: int) -> None:
    """Protocol O2: logs whose truth is known."""
    from obp import dataset as made
    from obp.utils import softmax

    for seed in range(seeds):
        dataset = made.SyntheticBanditDataset(
            n_actions=10, dim_context=5, reward_function=made.logistic_reward_function,
            behavior_policy_function=made.linear_behavior_policy, random_state=seed,
        )  # fmt: skip
        feedback = dataset.obtain_batch_bandit_feedback(n_rounds=SYNTHETIC_ROWS)
        fresh = dataset.calc_expected_reward(dataset.random_.normal(size=(FRESH_ROWS, 5)))
        truth = dataset.calc_ground_truth_policy_value(fresh, softmax(10.0 * fresh)[:, :, None])
        action_dist = softmax(10.0 * feedback["expected_reward"])[:, :, None]
        found = judged(feedback, action_dist, seed, 1)
        np.savez(
            out / f"synthetic_{seed:03}.npz", truth=truth, context=feedback["context"], action=feedback["action"],
            reward=feedback["reward"], pscore=feedback["pscore"], position=np.zeros(SYNTHETIC_ROWS, int),
            action_dist=action_dist, **found,
        )  # fmt: skip


def laid_out(data: Path, folder: Path) -> None:
    """The sample as obp wants to find it: <policy>/<campaign>/<campaign>.csv with an index, and item_context.csv."""
    import pandas as pd

    for policy in ("random", "bts"):
        for campaign in ("men", "women"):
            place = folder / policy / campaign
            place.mkdir(parents=True, exist_ok=True)
            with gzip.open(data / f"{policy}_{campaign}.csv.gz", "rt") as file:
                pd.read_csv(file).to_csv(place / f"{campaign}.csv")
            items = pd.read_csv(data / f"item_context_{campaign}.csv")
            items.to_csv(place / "item_context.csv")


def open_bandit(data: Path, out: Path, resamples: int) -> None:
    """Protocol O1: the log of one policy, judged for the other."""
    from obp.dataset import OpenBanditDataset
    from obp.policy import BernoulliTS, Random

    folder = out / "obd"
    laid_out(data, folder)
    for campaign in ("men", "women"):
        for logged, other in (("random", "bts"), ("bts", "random")):
            dataset = OpenBanditDataset(behavior_policy=logged, campaign=campaign, data_path=folder)
            truth = OpenBanditDataset.calc_on_policy_policy_value_estimate(other, campaign, folder)
            size = {"n_actions": dataset.n_actions, "len_list": dataset.len_list, "random_state": 12345}
            if other == "bts":
                policy = BernoulliTS(is_zozotown_prior=True, campaign=campaign, **size)
                chances = policy.compute_batch_action_dist(n_sim=20_000, n_rounds=dataset.n_rounds)
            else:
                chances = Random(**size).compute_batch_action_dist(n_rounds=dataset.n_rounds)
            for seed in range(resamples):
                feedback = dataset.sample_bootstrap_bandit_feedback(random_state=seed)
                found = judged(feedback, chances, seed, dataset.len_list)
                np.savez(
                    out / f"{logged}_{campaign}_{seed:03}.npz", truth=truth, context=feedback["context"],
                    action=feedback["action"], reward=feedback["reward"], pscore=feedback["pscore"],
                    position=feedback["position"], action_dist=chances[0], action_context=feedback["action_context"],
                    **{**found, "obp_rewards": found["obp_rewards"][:1]},
                )  # fmt: skip
    shutil.rmtree(folder)


def main() -> None:
    """Writes every log into OUT."""
    data, out, seeds, resamples = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    without_torch()
    if seeds:
        synthetic(out, seeds)
    if resamples:
        open_bandit(data, out, resamples)


if __name__ == "__main__":
    main()
