"""Off-policy evaluation: what another policy would have earned, from a log with the chances of what was done."""

from opportune.core.offpolicy.contexts import Encoding, encoded
from opportune.core.offpolicy.estimators import (
    NAMES,
    Estimate,
    Worth,
    dm,
    dr,
    dr_os,
    estimated,
    estimates,
    ips,
    less,
    sndr,
    snips,
    switch_dr,
    worths,
)
from opportune.core.offpolicy.intervals import Interval, bootstrap, empirical_bernstein
from opportune.core.offpolicy.judge import HEADLINE, Judgement, Mix, Part, judge
from opportune.core.offpolicy.log import Log, LogError, check_log
from opportune.core.offpolicy.overlap import Overlap, overlap_of
from opportune.core.offpolicy.rewards import RewardLearner, SharedThenOwn, cross_fitted
from opportune.core.offpolicy.tuning import settings_of

__all__ = [
    "HEADLINE",
    "NAMES",
    "Encoding",
    "Estimate",
    "Interval",
    "Judgement",
    "Log",
    "LogError",
    "Mix",
    "Overlap",
    "Part",
    "RewardLearner",
    "SharedThenOwn",
    "Worth",
    "bootstrap",
    "check_log",
    "cross_fitted",
    "dm",
    "dr",
    "dr_os",
    "empirical_bernstein",
    "encoded",
    "estimated",
    "estimates",
    "ips",
    "judge",
    "less",
    "overlap_of",
    "settings_of",
    "sndr",
    "snips",
    "switch_dr",
    "worths",
]
