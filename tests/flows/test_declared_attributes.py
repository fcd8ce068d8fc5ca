"""What offers may say about themselves and none does: missing, as for an offer that leaves it out."""

from __future__ import annotations

import msgspec
from small import playbook

from opportune.core.decisions.scenarios import decided
from opportune.core.playbook import Expectation, Scenario
from opportune.core.policies import Policy
from opportune.core.releases import compile_release, encode_manifest


def test_an_attribute_that_no_offer_has_is_missing_in_every_offer() -> None:
    book = playbook()
    bulky = Policy(
        id="bulky", effect="forbid", class_="commercial", when="offer.bulky", reason="too bulky", owner="tests"
    )
    app = msgspec.structs.replace(book.app, offer_attributes={"bulky": "bool"})
    release = compile_release(
        encode_manifest(msgspec.structs.replace(book, app=app, policies=(*book.policies, bulky)))
    )
    asked = Scenario(
        scenario="nobody is bulky", moment="limit", consents={"marketing/in_app": "given"}, expect=Expectation()
    )
    result = decided(release.brain, asked).result
    assert result.disposition == "offered"
    assert [(policy, names) for policy, _, names in result.skipped] == [("bulky", ("offer.bulky",))]
