"""Where candidates stand under policies; refusals, reasons in words, inline tests and lint."""

from typing import Any

import msgspec
import pytest

from opportune.core.policies import (
    CandidateTable,
    CompiledPolicies,
    Finding,
    Policy,
    PolicyError,
    PolicyTest,
    Variable,
    compile_policies,
    explain,
    lint,
    run_policy_tests,
)

VARIABLES = (
    Variable("seat_ratio", "double", "request"),
    Variable("now", "timestamp", "request"),
    Variable("offer.kind", "string", "candidate"),
    Variable("offer.price", "double", "candidate"),
    Variable("consent.status", "string", "channel"),
)
TABLE = CandidateTable(
    ids=("addon@email", "addon@app", "upgrade@app"),
    columns={"offer.kind": ("addon", "addon", "upgrade"), "offer.price": (10.0, 10.0, 99.0)},
    channels=("email", "app", "app"),
)
GRANTED = {"consent.status": {"email": "granted", "app": "granted"}}
DAY_MS = 86_400_000


def policy(id_: str, effect: Any, class_: Any, when: str = "true", **rest: Any) -> Policy:
    return Policy(id=id_, effect=effect, class_=class_, when=when, reason="because", owner="team", **rest)


PERMIT = policy("open", "permit", "commercial")


def compiled(*policies: Policy) -> CompiledPolicies:
    return compile_policies(policies, VARIABLES, TABLE)


def standing(*policies: Policy, request: Any = None, channel: Any = None, at_ms: int = 0) -> Any:
    release = compiled(*policies)
    return release.resolve(
        release.judge({"seat_ratio": 0.9} if request is None else request, channel or GRANTED, at_ms)
    )


def test_without_a_permit_nothing_is_allowed() -> None:
    """Deny by default."""
    assert standing(policy("f", "forbid", "commercial", "false")).allowed == 0


def test_a_forbid_beats_every_permit() -> None:
    """One forbid is enough, and it is named."""
    found = standing(PERMIT, policy("dear", "forbid", "suitability", "offer.price > 50.0"))

    assert (found.allowed, [p.id for p in found.forbidden_by(2)]) == (0b011, ["dear"])


def test_forbids_are_named_by_class_priority_and_id() -> None:
    """The order never depends on how the files were read."""
    rules = [
        policy("z", "forbid", "legal"),
        policy("b", "forbid", "commercial"),
        policy("a", "forbid", "commercial", priority=1),
        policy("c", "forbid", "contact"),
        policy("d", "forbid", "consent"),
    ]

    for order in (rules, rules[::-1]):
        assert [p.id for p in standing(PERMIT, *order).forbidden_by(0)] == ["z", "d", "c", "a", "b"]


@pytest.mark.parametrize("effect", ["forbid", "permit", "require_review", "force"])
@pytest.mark.parametrize("class_", ["legal", "consent"])
def test_a_legal_or_consent_policy_without_an_answer_forbids(effect: str, class_: str) -> None:
    """Whatever its effect; only where the value is missing."""
    rule = policy("asked", effect, class_, "consent.status != 'granted'")
    found = standing(PERMIT, rule, channel={"consent.status": {"email": "granted"}})

    assert found.allowed & 0b110 == 0
    assert [p.id for p in found.forbidden_by(1)] == ["asked"]
    assert found.skipped == ()


def test_another_policy_without_an_answer_is_skipped_and_reported() -> None:
    """The decision goes on, and says so."""
    found = standing(PERMIT, policy("full", "forbid", "commercial", "seat_ratio > 0.5"), request={})

    assert (found.allowed, found.skipped) == (0b111, (("full", 0b111, ("seat_ratio",)),))


def test_force_overrides_others_but_nothing_legal_or_of_consent() -> None:
    """A forced candidate needs no permit, passes contact and suitability, and stops at consent."""
    force = policy("campaign", "force", "commercial")
    soft = [policy("c", "forbid", "contact"), policy("s", "forbid", "suitability")]
    hard = policy("asked", "forbid", "consent", "consent.status == 'refused'")
    refused = {"consent.status": {"email": "refused", "app": "granted"}}
    found = standing(force, *soft, hard, channel=refused)

    assert (found.forced, found.allowed) == (0b110, 0b110)
    assert [p.id for p in found.forbidden_by(0)] == ["asked", "c", "s"]
    assert found.forbidden_by(1) == ()
    assert standing(force, *soft, hard, channel={"consent.status": {}}).allowed == 0


def test_review_obligations_and_levers_reach_their_candidates() -> None:
    """Masks for what a person must see and what must be said; sums for what is added."""
    found = standing(
        PERMIT,
        policy("check", "require_review", "commercial", "offer.kind == 'upgrade'", obligations=("disclose",)),
        policy("push", "adjust", "commercial", "offer.kind == 'addon'", adjust="offer.price * seat_ratio"),
        policy("more", "adjust", "commercial", adjust="1.0"),
    )

    assert found.review == (("check", 0b100),)
    assert found.obligations == (("disclose", 0b100),)
    assert found.levers == {0: 10.0, 1: 10.0, 2: 1.0}


@pytest.mark.parametrize(
    ("at_ms", "hits"), [(DAY_MS - 1, 0), (DAY_MS, 0b111), (3 * DAY_MS - 1, 0b111), (3 * DAY_MS, 0)]
)
def test_a_policy_counts_from_its_first_to_the_end_of_its_last_day(at_ms: int, hits: int) -> None:
    """Dates are whole days in UTC."""
    release = compiled(policy("p", "permit", "commercial", valid_from="1970-01-02", valid_to="1970-01-03"))

    assert release.judge({}, {}, at_ms).hits == (hits,)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        (
            {"when": "seat_rato > 0.5"},
            "when",
            "line 1 column 1: unknown name `seat_rato`; did you mean `seat_ratio`?",
        ),
        ({"when": "seat_ratio"}, "when", "expected bool, got double"),
        ({"adjust": "1.0"}, "adjust", "only the effect `adjust` has one"),
        ({"effect": "adjust"}, "adjust", "write the value to add"),
        ({"effect": "adjust", "adjust": "1"}, "adjust", "expected double, got int"),
        ({"valid_from": "soon"}, "valid_from", "`soon` is neither a date nor an RFC 3339 date-time"),
        ({"valid_from": "2026-02-01", "valid_to": "2026-01-01"}, "valid_to", "it ends before it begins"),
    ],
)
def test_a_policy_that_does_not_compile_says_where(changes: dict[str, Any], field: str, words: str) -> None:
    """Policy, field, place, and what to write."""
    with pytest.raises(PolicyError) as refused:
        compiled(msgspec.structs.replace(PERMIT, **changes))

    assert (refused.value.policy, refused.value.field) == ("open", field)
    assert words in str(refused.value)


def test_a_policy_document_is_read_strictly() -> None:
    """The key is `class`; an unknown key is an error."""
    document = {"id": "a", "effect": "forbid", "class": "legal", "reason": "r", "owner": "o"}

    assert msgspec.convert(document, Policy).class_ == "legal"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**document, "wenn": "true"}, Policy)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("{seat_ratio} of the seats", "87.5% of the seats"),
        ("costs {offer.price}", "costs 1,234.50"),
        ("since {now:date}", "since 1970-01-02"),
        ("{gone} is not known", "unknown is not known"),
        ("{seats} seats, {tags}", "12,000 seats, a, b"),
        ("{odd:money}", "a text"),
    ],
)
def test_reasons_are_filled_in_as_people_write(reason: str, words: str) -> None:
    """Percentages, money, dates; and `unknown` where a value is missing."""
    rule = msgspec.structs.replace(PERMIT, reason=reason)
    values = {
        "seat_ratio": 0.875,
        "offer.price": 1234.5,
        "now": DAY_MS,
        "seats": 12000,
        "tags": ["a", "b"],
        "odd": "a text",
    }

    assert explain(rule, values) == words


def test_inline_tests_say_what_came_instead() -> None:
    """True, false and missing; times may be written as text."""
    tests = (
        PolicyTest(name="full", given={"seat_ratio": 1, "now": "2026-01-01"}, expect=True),
        PolicyTest(name="empty", given={"seat_ratio": 0.1, "now": "2026-01-01"}, expect=True),
        PolicyTest(name="none", given={"now": "2026-01-01"}, expect="missing"),
    )
    when = "seat_ratio > 0.5 && now > timestamp('2025-01-01T00:00:00Z')"
    results = run_policy_tests([msgspec.structs.replace(PERMIT, when=when, tests=tests)], VARIABLES)

    assert [(r.test, r.passed, r.got) for r in results] == [
        ("full", True, "true"),
        ("empty", False, "false"),
        ("none", True, "missing"),
    ]


def test_lint_points_at_what_a_reviewer_would() -> None:
    """Placeholders, duplicates, levers, no permit at all, and what can never hit."""
    odd = msgspec.structs.replace(policy("a", "adjust", "commercial"), reason="{seat_rato} and {")
    never = policy("n", "forbid", "legal", "offer.kind == 'bundle'")
    found = lint([odd, policy("a", "forbid", "legal")], VARIABLES)
    messages = {(f.policy, f.field, f.message) for f in found if f.level == "error"}

    assert messages == {
        ("a", "reason", "unknown name `seat_rato` in the reason; did you mean `seat_ratio`?"),
        ("a", "reason", "a brace in the reason belongs to no `{name}`"),
        ("a", "adjust", "write the value to add"),
        ("a", "id", "another policy has the same id"),
        ("", "effect", "no policy permits anything, so nothing can ever be offered"),
    }
    words = "this can never be true for any candidate of the release"
    assert Finding("n", "when", words, "warning") in lint([PERMIT, never], VARIABLES, compiled(PERMIT, never))
