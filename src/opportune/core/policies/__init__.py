"""Policies as code: rules with an owner and a reason, compiled together into one function over all candidates."""

from .documents import CandidateTable, Policy, PolicyError, PolicyTest, Variable

__all__ = ["CandidateTable", "Policy", "PolicyError", "PolicyTest", "Variable"]
