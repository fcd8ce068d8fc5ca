"""The door for clients of Azure Personalizer: their shapes, their errors, and a log that the learner is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import pytest
from personalizer_room import KEY, NEWS, RANK, Room

from opportune.core.playbook import Personalizer, Privacy
from opportune.flows.learning.personalize import RANKED, SOURCE
from opportune.flows.retain import retain
from opportune.ports import StoreBroken, Transaction

pytestmark = pytest.mark.slow
DAY_MS = 86_400_000
MANY = [{"id": f"a{n}", "features": [{f"f{m}": m + 1 for m in range(20)}]} for n in range(10)]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    found = Room(tmp_path, Personalizer())
    yield found
    found.close()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """For calls that change nothing, or nothing that others look at."""
    found = Room(tmp_path_factory.mktemp("quiet"), Personalizer())
    yield found
    found.close()


def test_a_rank_has_the_shape_of_theirs(room: Room) -> None:
    reply = room.post(RANK, {**NEWS, "eventId": "75269AD0-BFEE-4598-8196-C57383D38E10", "deferActivation": False})
    answer = reply.json()

    assert reply.status == 201
    assert set(answer) == {"ranking", "eventId", "rewardActionId"}
    assert [one["id"] for one in answer["ranking"]] == ["sports", "politics", "weather"]
    assert sum(one["probability"] for one in answer["ranking"]) == pytest.approx(1.0)
    assert answer["rewardActionId"] in ("sports", "politics", "weather")
    assert answer["eventId"] == "75269AD0-BFEE-4598-8196-C57383D38E10"


def test_an_event_id_is_made_where_none_is_sent_and_rewards_answer_204(room: Room) -> None:
    event = room.post(RANK, NEWS).json()["eventId"]

    assert len(event) > 20
    assert room.reward(event, 1.0) == 204
    assert room.post(f"/personalizer/v1.0/events/{event}/activate").status == 204


def test_excluded_actions_keep_their_place_and_have_no_chance(room: Room) -> None:
    answer = room.rank("e", excludedActions=["sports"])

    assert [one["probability"] > 0 for one in answer["ranking"]] == [False, True, True]


def test_the_same_call_twice_is_one_and_another_call_may_not_have_its_id(room: Room) -> None:
    first = room.rank("e")
    room.reward("e", 1.0)

    assert room.rank("e") == first
    other = room.post(RANK, {**NEWS, "eventId": "e", "contextFeatures": [{"timeOfDay": "night"}]})
    assert (other.status, other.json()["error"]["target"]) == (400, "eventId")
    assert room.region.personalize.joined().counted.ranked == 1


@pytest.mark.parametrize(
    ("changed", "target"),
    [
        ({"actions": []}, "actions"),
        ({"actions": [{"id": "a"}, {"id": "a"}]}, "actions"),
        ({"actions": [{"id": ""}]}, "actions[0].id"),
        ({"actions": [{"id": str(n)} for n in range(51)]}, "actions"),
        ({"excludedActions": ["nothing"]}, "excludedActions"),
        ({"excludedActions": ["sports", "politics", "weather"]}, "excludedActions"),
        ({"contextFeatures": [{"user": {"email": "x"}}]}, "contextFeatures[0].user.email"),
        ({"contextFeatures": [{"customerId": "17"}]}, "contextFeatures[0].customerId"),
        ({"contextFeatures": [{"note": "ask ada@example.com"}]}, "contextFeatures[0].note"),
        ({"actions": [{"id": "a", "features": [{"user_name": "ada"}]}]}, "actions[0].features[0].user_name"),
        ({"eventId": "ada@example.com"}, "eventId"),
        ({"eventId": "a/b"}, "eventId"),
        ({"contextFeatures": [{f"k{n}": n + 1 for n in range(990)}], "actions": MANY}, "contextFeatures"),
        ({"contextFeatures": [{"big": 1e200}]}, "contextFeatures[0].big"),
        ({"actions": "sports"}, "body"),
    ],
)
def test_what_cannot_be_ranked_is_named_and_kept_nowhere(quiet: Room, changed: dict[str, object], target: str) -> None:
    before = quiet.records.counts()["signals"]
    reply = quiet.post(RANK, {**NEWS, **changed})
    error = reply.json()["error"]

    assert (reply.status, error["code"], error["target"]) == (400, "BadRequest", target)
    assert error["message"]
    assert quiet.records.counts()["signals"] == before


def test_their_own_example_names_nobody(quiet: Room) -> None:
    context = [{"user": {"profileType": "AnonymousUser", "latLong": "47.6,-122.1"}}, {"device": {"mobile": True}}]

    assert quiet.post(RANK, {**NEWS, "contextFeatures": context}).status == 201


@pytest.mark.parametrize(
    "body",
    [b"", b"[" * 60_000, b"\xff\xfe", b'{"actions":[{"id":"\\ud800"}]}', b'{"actions":[{"id":1}]}', b"x" * 70_000],
    ids=("empty", "deep", "no UTF-8", "half a character", "a number", "too large"),
)
def test_what_is_no_call_is_refused_in_their_words(quiet: Room, body: bytes) -> None:
    reply = quiet.post(RANK, body)

    assert (reply.status, reply.json()["error"]["code"]) == (400, "BadRequest")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"value": "much"}', b"{}"])
def test_a_reward_that_is_none_is_refused(quiet: Room, body: bytes) -> None:
    quiet.rank("refused")
    reply = quiet.post("/personalizer/v1.0/events/refused/reward", body)

    assert (reply.status, reply.json()["error"]["target"]) == (400, "value")


def test_a_reward_for_a_call_nobody_made_is_not_found(quiet: Room) -> None:
    assert quiet.reward("nothing", 1.0) == 404
    assert quiet.post("/personalizer/v1.0/events/nothing/activate").json()["error"]["code"] == "ResourceNotFound"


def test_keys(quiet: Room) -> None:
    bearer = {"authorization": f"Bearer {KEY}"}

    assert quiet.post(RANK, NEWS, bearer).status == 201
    assert quiet.post(RANK, NEWS, {}).json()["error"]["code"] == "401"
    assert quiet.post(RANK, NEWS, {"ocp-apim-subscription-key": "wrong"}).status == 401
    assert quiet.post(RANK, NEWS, {"ocp-apim-subscription-key": "reader"}).status == 403


def test_other_versions(quiet: Room) -> None:
    assert quiet.post("/personalizer/v1.1-preview.3/rank", NEWS).status == 201
    assert quiet.post("/personalizer/v2.0/rank", NEWS).json()["error"]["code"] == "ResourceNotFound"
    said = quiet.get("/personalizer/v1.0/configurations/service").json()
    assert (said["rewardWaitTime"], said["learningMode"]) == ("PT10M", "Online")


def test_without_a_word_in_the_playbook_the_door_is_closed(tmp_path: Path) -> None:
    room = Room(tmp_path, None)
    reply = room.post(RANK, NEWS)
    room.close()

    assert (reply.status, reply.json()["error"]["target"]) == (404, "personalizer")


def test_a_call_is_in_the_log_with_its_ledger_entry_before_it_is_answered(room: Room) -> None:
    answer = room.rank("e")
    stored = next(iter(room.records.signals()))

    assert (stored.signal.source, stored.signal.type, stored.signal.id) == (SOURCE, RANKED, "e")
    assert stored.signal.data["ranked"]["chosen"] == answer["rewardActionId"]
    assert b'"signal-1"' in room.records.leaves(stored.leaf, stored.leaf + 1)[0]


def test_it_learns_what_is_liked(room: Room) -> None:
    for number in range(120):
        event = f"e{number}"
        room.reward(event, 1.0 if room.rank(event)["rewardActionId"] == "weather" else 0.0)
    answer = room.rank("last")

    assert max(answer["ranking"], key=lambda one: one["probability"])["id"] == "weather"


def test_apprentice_shows_the_first_action_and_learns_beside_it(tmp_path: Path) -> None:
    room = Room(tmp_path, Personalizer(mode="apprentice"))
    for number in range(60):
        event = f"e{number}"
        shown = room.rank(event, excludedActions=["sports"] if number % 2 else [])["rewardActionId"]
        assert shown == ("politics" if number % 2 else "sports")
        room.reward(event, 0.0 if shown == "sports" else 1.0)
    joined = room.region.personalize.joined()
    room.close()

    assert joined.learner.learned == 60
    # In the end it would show politics instead of sports.
    assert [one.is_wanted for one in list(joined.judged)[-10:]] == [False, True] * 5


def test_the_log_alone_gives_the_same_learner_to_the_byte(tmp_path: Path) -> None:
    room = Room(tmp_path, Personalizer(reward_wait="2m", default_reward=-0.1), on_disk=True)
    for number in range(80):
        event = f"e{number}"
        context = [{"n": number, "even": number % 2 == 0}]
        shown = room.rank(event, contextFeatures=context, deferActivation=number % 5 == 0)
        if number % 3:
            room.reward(event, float(shown["rewardActionId"] == "weather"))
        room.clock.at_ms += 20_000
    before = room.region.personalize.joined()
    digest, counted = before.learner.digest(), before.counted
    room.again()
    after = room.region.personalize.joined()

    assert after.learner.digest() == digest
    assert after.counted == counted
    assert counted.by_default > 10
    assert counted.never_shown > 5
    answer = room.rank("another")
    assert answer["eventId"] == "another"
    assert room.region.personalize.joined().counted.ranked == 81
    room.close()


def test_what_outlived_its_period_is_gone_from_the_log_and_from_what_was_learned(tmp_path: Path) -> None:
    room = Room(tmp_path, Personalizer())
    room.release(Personalizer(), Privacy(retention={"personal": "7d"}))
    for number in range(30):
        if number == 20:
            room.clock.at_ms += 8 * DAY_MS
        room.rank(f"e{number}")
        room.reward(f"e{number}", 1.0)
    learned = room.region.personalize.joined().learner.learned
    report = retain(room.region)
    found = room.region.personalize.joined()
    data = [stored.signal.data for stored in room.records.signals()]
    room.close()

    assert learned == 30
    assert report.signals == 40
    assert data[:40] == [{}] * 40
    assert (found.learner.learned, found.counted.ranked) == (10, 10)


def test_a_rank_that_could_not_be_kept_is_not_answered(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.rank("before")

    def broken(_: object) -> None:
        raise StoreBroken("the disk is full")

    monkeypatch.setattr(room.records, "run", broken)
    reply = room.post(RANK, {**NEWS, "eventId": "e"})

    assert (reply.status, reply.json()["error"]["code"]) == (503, "ServiceUnavailable")
    assert room.region.personalize.joined().counted.ranked == 1


def test_what_is_committed_first_is_learned_first_whoever_is_told_of_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(tmp_path, Personalizer(), on_disk=True)
    for event in ("slow", "quick"):
        room.rank(event)
    run, committed, go_on = room.records.run, Event(), Event()

    def told_late(work: Callable[[Transaction], Any]) -> Any:
        done = run(work)
        if current_thread().name == "slow" and isinstance(done, int):
            committed.set()
            assert go_on.wait(30)
        return done

    monkeypatch.setattr(room.records, "run", told_late)
    slow = Thread(target=room.region.personalize.reward, args=("slow", 1.0), name="slow")
    slow.start()
    assert committed.wait(30)
    room.region.personalize.reward("quick", 0.0)
    waiting = room.region.personalize.joined().learner.learned
    go_on.set()
    slow.join(30)
    found = room.region.personalize.joined().learner
    monkeypatch.undo()
    digest = found.digest()
    room.again()

    assert (waiting, found.learned) == (0, 2)
    assert room.region.personalize.joined().learner.digest() == digest
    room.close()
