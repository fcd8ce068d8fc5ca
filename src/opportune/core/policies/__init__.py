"""Policies as code: rules with an owner and a reason, compiled together into one function over all candidates."""

from .checks import Finding, TestResult, lint, run_policy_tests
from .compiled import CompiledPolicies, compile_policies
from .documents import CandidateTable, Policy, PolicyError, PolicyTest, Variable
from .explain import explain
from .standing import Standing, Verdicts, resolve

__all__ = [
    "CandidateTable",
    "CompiledPolicies",
    "Finding",
    "Policy",
    "PolicyError",
    "PolicyTest",
    "Standing",
    "TestResult",
    "Variable",
    "Verdicts",
    "compile_policies",
    "explain",
    "lint",
    "resolve",
    "run_policy_tests",
]
