"""Microsoft's own Python client of Azure Personalizer against our server; run in the peers' environment."""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

from azure.cognitiveservices.personalizer import PersonalizerClient
from azure.cognitiveservices.personalizer.models import (
    RankableAction,
    RankRequest,
)
from msrest.authentication import CognitiveServicesCredentials
from msrest.exceptions import HttpOperationError

LIKES = {"morning": "pasta", "noon": "salad", "night": "soup"}
FOODS = ("pasta", "salad", "soup", "ice cream", "juice")


def actions() -> list[Any]:
    return [RankableAction(id=food, features=[{"name": food}, {"sweet": food == "ice cream"}]) for food in FOODS]


def refused(call: Any) -> dict[str, object]:  # noqa: ANN401 - any call of the client
    """What the client makes of a refusal."""
    try:
        call()
    except HttpOperationError as error:
        found = error.response.json()["error"]
        status = error.response.status_code
        return {"status": status, "code": found["code"], "target": found["target"], "said": found["message"]}
    return {"status": 0}


def main() -> None:
    endpoint, key, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = PersonalizerClient(endpoint, CognitiveServicesCredentials(key))
    chance = random.Random(1)
    rewards, times = [], []
    for number in range(rounds):
        day = chance.choice(sorted(LIKES))
        event = f"sdk-{number}"
        request = RankRequest(
            actions=actions(), context_features=[{"timeOfDay": day}, {"n": chance.random()}],
            excluded_actions=["juice"], event_id=event, defer_activation=number % 10 == 0,
        )  # fmt: skip
        began = time.perf_counter()
        answer = client.rank(rank_request=request)
        times.append((time.perf_counter() - began) * 1e3)
        assert answer.event_id == event
        assert [one.id for one in answer.ranking] == list(FOODS)
        assert answer.ranking[4].probability == 0
        assert abs(sum(one.probability for one in answer.ranking) - 1) < 1e-6
        if number % 10 == 0:
            client.events.activate(event_id=event)
        reward = float(answer.reward_action_id == LIKES[day])
        client.events.reward(event_id=event, value=reward)
        rewards.append(reward)
    times.sort()
    print(
        json.dumps(
            {
                "ranks": rounds,
                "first_fifth": sum(rewards[: rounds // 5]) / (rounds // 5),
                "last_fifth": sum(rewards[-(rounds // 5) :]) / (rounds // 5),
                "rank_p50_ms": times[len(times) // 2],
                "rank_p99_ms": times[int(len(times) * 0.99)],
                "no_actions": refused(lambda: client.rank(rank_request=RankRequest(actions=[]))),
                "no_event": refused(lambda: client.events.reward(event_id="nobody", value=1.0)),
            }
        )
    )


if __name__ == "__main__":
    main()
