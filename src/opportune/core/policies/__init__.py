"""Policies as code: rules with an owner and a reason, compiled together into one function over all candidates."""

from .compiled import CompiledPolicies, compile_policies
from .documents import CandidateTable, Policy, PolicyError, PolicyTest, Variable
from .standing import Standing, Verdicts, resolve

__all__ = [
    "CandidateTable",
    "CompiledPolicies",
    "Policy",
    "PolicyError",
    "PolicyTest",
    "Standing",
    "Variable",
    "Verdicts",
    "compile_policies",
    "resolve",
]
