"""Feedback: what agents and reviewers say, how it compares with what happened, and which rules it speaks for."""

from opportune.core.feedback.people import Person, Rate, Said, people
from opportune.core.feedback.proposals import RuleProposal, policy_of, rule_proposals, yaml_of
from opportune.core.feedback.words import (
    DEFAULT_REASONS,
    FEEDBACK_SIGNAL,
    Feedback,
    FeedbackError,
    FeedbackReason,
    check_feedback,
    signal_data,
)

__all__ = [
    "DEFAULT_REASONS",
    "FEEDBACK_SIGNAL",
    "Feedback",
    "FeedbackError",
    "FeedbackReason",
    "Person",
    "Rate",
    "RuleProposal",
    "Said",
    "check_feedback",
    "people",
    "policy_of",
    "rule_proposals",
    "signal_data",
    "yaml_of",
]
