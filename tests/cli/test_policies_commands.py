"""`policies`: listed with their places, explained in words, tested with coverage, and changed for argument's sake."""

from __future__ import annotations

from pathlib import Path

import pytest

from .called import call, change

pytestmark = pytest.mark.slow


def test_policies_are_listed_with_their_place(playbook: Path) -> None:
    said = call("policies", "list", "--playbook", playbook, "--json")
    assert said.code == 0
    found = {one["id"]: one for one in said.json["policies"]}
    assert found["consent.marketing"]["where"].startswith("policies/guard.yaml:")
    assert found["pace.new_plan"]["where"].startswith("policies/pace.csv:")
    classes = [one["class"] for one in said.json["policies"]]
    assert classes == sorted(classes, key=["legal", "consent", "contact", "suitability", "commercial"].index)


def test_a_policy_is_explained_in_words(playbook: Path) -> None:
    said = call("policies", "explain", "suitability.member_cannot_buy", "--playbook", playbook, "--source")
    assert said.code == 0
    for words in (
        "forbid, class suitability", "It holds back what it hits.", "  - role is “member”",
        "  - channel.kind is not “agent”", "it is skipped, and the answer says so", "role (string): feature",
        "It can hit: ", "It can be true together with: ", "Tests: 3 of 3 passed", "def judge(",
    ):  # fmt: skip
        assert words in said.out, words
    assert "agent_desk" not in said.out.partition("It can hit: ")[2].partition("\n")[0]


def test_rules_that_exclude_each_other_do_not_overlap(playbook: Path) -> None:
    change(playbook / "policies/guard.yaml", "open_urgent_tickets > 0", "open_urgent_tickets > 0 && role != 'member'")
    said = call("policies", "explain", "suitability.member_cannot_buy", "--playbook", playbook, "--json")
    overlaps = {one["policy"] for one in said.json["overlaps"]}
    assert "permit.in_product" in overlaps
    assert "suitability.urgent_ticket" not in overlaps


def test_an_unknown_policy_is_refused_with_the_nearest(playbook: Path) -> None:
    said = call("policies", "explain", "permit.emial", "--playbook", playbook)
    assert (said.code, said.err) == (2, "no policy is called `permit.emial`: did you mean `permit.email`?\n")
    assert call("policies", "test", "permit.emial", "--playbook", playbook).code == 2


def test_tests_run_with_what_they_leave_open(playbook: Path) -> None:
    said = call("policies", "test", "pace", "--playbook", playbook, "--coverage", "--json")
    assert said.code == 0
    assert (said.json["ok"], said.json["passed"], said.json["of"]) == (True, 8, 8)
    assert said.json["without_tests"] == []
    said = call("policies", "test", "permit.happy_chat", "--playbook", playbook, "--coverage")
    assert "warning: permit.happy_chat: no test makes `channel.kind == 'agent'` false" in said.out
    change(playbook / "policies/pace.csv", "40\nan add-on", "70\nan add-on")
    said = call("policies", "test", "pace.new_plan", "--playbook", playbook)
    assert said.code == 1
    assert "FAILED pace.new_plan: a plan for a new customer who said no: expected true, got false" in said.out


def test_a_policy_is_shown_in_a_decision(company: Path, decision: str) -> None:
    said = call("policies", "explain", "permit.in_product", "--decision", decision, "--playbook", company, "--json")
    assert said.code == 0
    assert set(said.json["read"]) == {"account_known", "active_subscriptions", "tenure_days"}
    answers = {one["candidate"]: one["said"] for one in said.json["candidates"]}
    assert answers
    assert set(answers.values()) <= {"it is true", "it is false"} or "no answer" in " ".join(answers.values())
    assert all(candidate.endswith("@in_app") for candidate in answers)
    refused = call("policies", "explain", "permit.in_product", "--decision", "nonsense", "--playbook", company)
    assert refused.code == 2
    assert "no decision has the id `nonsense`" in refused.err


def test_what_if_a_policy_were_not_there(company: Path) -> None:
    said = call(
        "policies", "what-if", "--without", "permit.in_product", "--playbook", company, "--json", "--by", "plan"
    )
    assert said.code == 1
    found = said.json
    assert found["policies_changed"] == ["permit.in_product"]
    assert found["changed"] > 0
    assert all(one["after"] == "nothing" for one in found["offers"])
    assert {one["rule"] for one in found["policies"]} == {"no_permit"}
    assert {one["segment"] for one in found["segments"]} <= {"team", "business", "enterprise", "missing"}
    assert sum(one["of"] for one in found["segments"]) == found["of"]
    assert all(one["examples"] for one in found["offers"])


def test_what_if_one_policy_were_another(company: Path, tmp_path: Path) -> None:
    file = tmp_path / "changed.yaml"
    text = (company / "policies/guard.yaml").read_text()
    start = text.index("  - id: consent.marketing")
    file.write_text("policies:\n" + text[start : text.index("  - id: legal.dunning")])
    same = call("policies", "what-if", "--with", file, "--playbook", company)
    assert same.code == 0, same.out
    assert "changed against the live release" in same.out
    assert "none" in same.out.splitlines()[0]
    change(file, "consent.status != 'given'", "consent.status != 'withdrawn'")
    other = call("policies", "what-if", "--with", file, "--playbook", company, "--json")
    assert other.json["policies_changed"] == ["consent.marketing"]
    assert "consent.marketing" in {one["rule"] for one in other.json["policies"]}
    sheet = tmp_path / "more.csv"
    sheet.write_text("owner: a\nclass: legal\neffect: forbid\nreason: r\nfirst,offer.kind\n,seats\n")
    seats = call("policies", "what-if", "--with", sheet, "--playbook", company, "--json")
    assert seats.json["policies_changed"] == ["more.1"]
    assert not any("seats" in one["after"] for one in seats.json["offers"])


def test_what_if_for_a_whole_folder_says_the_same_as_a_replay(company: Path, playbook: Path) -> None:
    said = call("policies", "what-if", "--with", playbook, "--playbook", company)
    assert said.code == 0, said.out
    assert "0 of" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what is changed"),
        (("--with", "nowhere.yaml"), "there is no such file or folder"),
        (("--without", "permit.emial"), "did you mean `permit.email`?"),
        (("--without", "permit.email", "--by", "pln"), "did you mean `plan`?"),
    ],
)
def test_what_if_refuses_in_a_sentence(company: Path, arguments: tuple[str, ...], message: str) -> None:
    said = call("policies", "what-if", *arguments, "--playbook", company)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "text",
    [
        "", "policies:\n", "policies: 3\n", "policies: [{}]\n", "offers: []\n", "tables: [{table: x, rows: []}]\n",
        "policies:\n  - {id: x, effect: forbid, class: legal, when: \"pln == 'a'\", reason: r, owner: o}\n",
        "policies:\n  - {id: x, effect: adjust, class: legal, reason: r, owner: o}\n", "\x00", "a: [", "- 1\n",
        "policies:\n  - {id: x, effect: forbid, class: legal, reason: r, owner: o, valid_from: never}\n",
    ],
)  # fmt: skip
def test_a_changed_file_that_is_wrong_is_refused_in_sentences(company: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "changed.yaml"
    file.write_text(text)
    said = call("policies", "what-if", "--with", file, "--playbook", company)
    assert said.code == 2
    assert said.err.strip()
    assert "fault of opportune" not in said.err
