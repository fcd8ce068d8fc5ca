"""Policies as code: rules with an owner and a reason, compiled together into one function over all candidates."""

from .checks import Finding, TestResult, lint, run_policy_tests
from .compiled import CompiledPolicies, compile_policies
from .documents import CandidateTable, Policy, PolicyError, PolicyTest, Variable
from .explain import explain
from .requirements import Held, Requirement, Requirements, requirement_id
from .standing import Standing, Verdicts, resolve

__all__ = [
    "CandidateTable",
    "CompiledPolicies",
    "Finding",
    "Held",
    "Policy",
    "PolicyError",
    "PolicyTest",
    "Requirement",
    "Requirements",
    "Standing",
    "TestResult",
    "Variable",
    "Verdicts",
    "compile_policies",
    "explain",
    "lint",
    "requirement_id",
    "resolve",
    "run_policy_tests",
]
