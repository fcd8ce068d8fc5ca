"""The policies of `benchmarks/synthetic.py` in Cedar, one to one: the glue stack evaluates these.

Cedar has no floating point: prices are whole there, and ratios are written as billionths (`d4` 2.5 is 2500000000).
"""

from __future__ import annotations

BILLION = 1_000_000_000
POLICIES = 20
POLICY_IDS = {f"policy{number}": "permit" if number == 1 else f"policy_{number}" for number in range(POLICIES)}
"""What Cedar calls a policy, by its place -> its id in the synthetic playbook."""

CONSENT = (
    '(resource.channel == "email" && principal.consent_email != "given") || '
    '(resource.channel == "in_app" && principal.consent_in_app != "given")'
)


def cedar() -> str:
    """All policies as the text of one policy set."""
    return "\n".join(_policy(number) for number in range(POLICIES))


def _policy(number: int) -> str:
    if number == 1:
        return "permit(principal, action, resource);"
    a, b, c = number % 20, number % 11, number % 13
    when = (
        CONSENT,
        f"principal.f{a} < {number % 7} && resource.tier >= 3",
        f"resource.price > (principal.f{a} + principal.f{b}) * 50",
        f'principal.f{a} > {100_000 + number} || (resource.family == "f6" && principal.f{c} > 90000)',
        f'["enterprise", "trial"].contains(principal.plan) && resource.kind == "seats" && '
        f"principal.d{number % 12} > {2 * BILLION}",
    )
    return f"forbid(principal, action, resource) when {{ {when[number % 5]} }};"
