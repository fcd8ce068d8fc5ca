"""What a playbook says about adaptive beliefs: segments in its own words, and what is wrong with the rest."""

from __future__ import annotations

import pytest

from opportune.core.beliefs import Adaptive, adaptive_problems, segment_of

TYPES = {"plan": "string", "seats": "int", "trial": "bool", "since": "timestamp", "open": None}


def test_a_segment_is_told_in_the_playbooks_words_and_never_in_the_customers() -> None:
    adaptive = Adaptive(segments={"plan": ("team", "business"), "seats": (5.0, 20.0), "trial": ()})

    def told(plan: object, seats: object, trial: object) -> str:
        return segment_of(adaptive, {"plan": plan, "seats": seats, "trial": trial})

    assert told("team", 4, True) == "plan team · seats below 5 · trial"
    assert told("business", 5, False) == "plan business · seats 5 to 20 · not trial"
    assert told("ada@example.org", 20.0, None) == "plan other · seats 20 and more · trial unknown"
    assert told(None, float("nan"), 3) == "plan unknown · seats unknown · trial unknown"
    assert segment_of(Adaptive(), {"plan": "team"}) == ""


@pytest.mark.parametrize(
    ("adaptive", "field", "words"),
    [
        (Adaptive(segments={"plam": ("team",)}), ("segments", "plam"), "no feature"),
        (Adaptive(segments={"plan": ()}), ("segments", "plan"), "name the words"),
        (Adaptive(segments={"plan": ("a", "a")}), ("segments", "plan"), "each once"),
        (Adaptive(segments={"seats": ("few",)}), ("segments", "seats"), "give the edges"),
        (Adaptive(segments={"seats": (20.0, 5.0)}), ("segments", "seats"), "ascending"),
        (Adaptive(segments={"trial": ("yes",)}), ("segments", "trial"), "write `trial: []`"),
        (Adaptive(segments={"since": (1.0,)}), ("segments", "since"), "is a timestamp"),
        (Adaptive(segments={"seats": tuple(map(float, range(99)))}), ("segments",), "101 segments"),
        (Adaptive(strength=0.0), ("strength",), "from 0.1 to 1000"),
        (Adaptive(handover=0), ("handover",), "at least 1 row"),
        (Adaptive(optimism=-1.0), ("optimism",), "from 0 to 4"),
        (Adaptive(window="soon"), ("window",), "soon"),
        (Adaptive(window="500d"), ("window",), "from 1h to 400d"),
    ],
)
def test_what_cannot_work_is_named_with_its_fix(adaptive: Adaptive, field: tuple[str, ...], words: str) -> None:
    found = list(adaptive_problems(adaptive, TYPES))

    assert [where for where, _ in found] == [field]
    assert words in found[0][1]


def test_what_works_has_no_problems() -> None:
    sound = Adaptive(segments={"plan": ("team",), "seats": (5.0,), "trial": (), "open": (1.0,)}, window="365d")
    assert list(adaptive_problems(sound, TYPES)) == []
