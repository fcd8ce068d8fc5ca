"""The door for clients of Azure Personalizer: Microsoft's own client against a real server, and what a rank costs.

Run: `python -m benchmarks.personalizer [--peers DIR] [--rounds 1000] [--json]`. A playbook is made and served by
`opportune serve`; the client (in its own environment) ranks five dishes by the time of day, rewards what is liked and
activates what it deferred. In process: the CPU time of a rank without its record, for 5, 20 and 50 actions of 10
features in contexts of 20, and of learning from one; records on disk without HTTP, and the learner made again from the
log. `apprentice`: an application whose own choice is right in half of the situations, first beside an apprentice, then
online; what the report says, beside the truth of that world.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers.environment import NoPeers, python_of
from opportune.adapters.playbook import load
from opportune.core.bandits.joined import Joined, Rewarded
from opportune.core.bandits.ranking import RankableAction, RankRequest, Setting, check_rank, rank
from opportune.doors.cli.apprentice import sentences
from opportune.flows.learning.apprentice import report_of
from opportune.wiring import open_region

REQUIREMENTS = Path(__file__).parent / "peers" / "personalizer_requirements.txt"
PEER = Path(__file__).parent / "peers" / "personalizer_peer.py"
OPPORTUNE = Path(sys.executable).with_name("opportune")


def in_process(actions: int, ranks: int) -> dict[str, float]:
    """CPU milliseconds per rank and per reward learned from."""
    chance, joined, setting = random.Random(2), Joined(), Setting()
    spent = {"rank_ms": 0.0, "learn_ms": 0.0}
    for number in range(ranks):
        request = RankRequest(
            tuple(_action(f"a{place}", chance) for place in range(actions)),
            ({f"c{place}": f"v{chance.randrange(8)}" for place in range(20)},), None, f"e{number}",
        )  # fmt: skip
        began = time.process_time()
        ranked = rank(request, check_rank(request), joined.learner, setting, f"e{number}", number, chance.random())
        spent["rank_ms"] += time.process_time() - began
        began = time.process_time()
        joined.take(ranked)
        joined.take(Rewarded(f"e{number}", number, float(chance.random() < 0.3)))
        spent["learn_ms"] += time.process_time() - began
    return {name: seconds * 1e3 / ranks for name, seconds in spent.items()}


def _action(id_: str, chance: random.Random) -> RankableAction:
    return RankableAction(id_, ({f"f{place}": f"v{chance.randrange(5)}" for place in range(10)},))


def apprenticed(calls: int, seed: int = 3) -> dict[str, Any]:
    """The report of an apprentice, and of the same learner gone online, beside what is true in this world."""
    chance, joined, found = random.Random(seed), Joined(), {}
    plans, foods = ("basic", "team", "pro", "trial"), ("tour", "video", "call", "chat")
    pays = {plan: {food: 0.05 + 0.15 * (n == m) for m, food in enumerate(foods)} for n, plan in enumerate(plans)}
    own = {"basic": "tour", "team": "video", "pro": "tour", "trial": "tour"}
    truth: dict[str, list[float]] = {"own": [], "learner": []}
    at = 0
    for mode in ("apprentice", "online"):
        setting = Setting(mode=mode, exploration=0.2)
        joined.judged.clear()
        truth = {"own": [], "learner": []}
        for _ in range(calls):
            at += 1
            plan = chance.choice(plans)
            ordered = sorted(foods, key=lambda food: food != own[plan])
            request = RankRequest(tuple(map(RankableAction, ordered)), ({"plan": plan, "day": chance.randrange(7)},))
            ranked = rank(request, check_rank(request), joined.learner, setting, f"e{at}", at, chance.random())
            joined.take(ranked)
            joined.take(Rewarded(ranked.event, at, float(chance.random() < pays[plan][ranked.chosen])))
            truth["own"].append(pays[plan][own[plan]])
            truth["learner"].append(pays[plan][ranked.wanted])
        report = report_of(mode, joined, list(joined.judged))
        found[mode] = {
            "report": msgspec.to_builtins(report), "said": list(sentences(report)),
            "true_own": sum(truth["own"]) / calls, "true_learner": sum(truth["learner"]) / calls,
        }  # fmt: skip
    return found


def from_the_log(calls: int) -> dict[str, float]:
    """Calls and rewards per second with their records on disk, one after the other, and per second made again from
    the log."""
    chance = random.Random(4)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "playbook"
        subprocess.run([str(OPPORTUNE), "init", str(folder)], check=True, capture_output=True)
        with (folder / "opportune.yaml").open("a") as file:
            file.write("\npersonalizer: {}\n")
        region = open_region(folder / ".opportune", "larkfield", "eu")
        region.promote(region.release(load(folder).playbook).hash, "benchmark", "to measure")
        began = time.perf_counter()
        for number in range(calls):
            actions = tuple(_action(f"a{n}", chance) for n in range(5))
            ranked = region.personalize.rank(RankRequest(actions, ({"day": str(number % 7)},)))
            region.personalize.reward(ranked.event, float(chance.random() < 0.3))
        kept = 2 * calls / (time.perf_counter() - began)
        digest = region.personalize.joined().learner.digest()
        region.personalize.again()
        began = time.process_time()
        again = region.personalize.joined()
        made = 2 * calls / (time.process_time() - began)
        assert again.learner.digest() == digest
        region.close()
    return {"kept_per_second": kept, "made_again_per_second": made}


def over_http(python: Path, rounds: int) -> dict[str, Any]:
    """What Microsoft's client saw of a real server."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "playbook"
        subprocess.run([str(OPPORTUNE), "init", str(folder)], check=True, capture_output=True)
        with (folder / "opportune.yaml").open("a") as file:
            file.write("\npersonalizer:\n  method: thompson\n  exploration: 0.05\n")
        command = [str(OPPORTUNE), "serve", "--playbook", str(folder), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            endpoint = _listening(server)
            key = json.loads((folder / ".opportune" / "api_keys.json").read_text())["api_key"]
            asked = [str(python), str(PEER), endpoint, key, str(rounds)]
            ended = subprocess.run(asked, check=False, capture_output=True, text=True)
        finally:
            server.terminate()
            server.wait(30)
    if ended.returncode:
        raise NoPeers(f"the client failed: {ended.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _listening(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    said = []
    for line in server.stdout:
        said.append(line)
        for word in line.split():
            if word.startswith("http://"):
                host = word.removeprefix("http://").split("/")[0]
                return f"http://{host}"
    raise NoPeers(f"the server did not start: {' '.join(said)[-400:]}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"in_process": {str(n): in_process(n, options.ranks) for n in (5, 20, 50)}}
    found["log"] = from_the_log(options.ranks)
    found["apprentice"] = apprenticed(4 * options.rounds)
    if options.peers is None:
        found["no_peers"] = "say --peers DIR to install and run Microsoft's client"
        return found
    try:
        python = python_of(options.peers, REQUIREMENTS, "personalizer")
        found["client"] = over_http(python, options.rounds)
    except NoPeers as error:
        found["no_peers"] = str(error)
    return found


def told(found: dict[str, Any]) -> Iterator[str]:
    for actions, one in found["in_process"].items():
        yield f"{actions:>3} actions: rank {one['rank_ms']:.2f} ms of CPU, learning from one {one['learn_ms']:.2f} ms"
    log = found["log"]
    yield (
        f"one after the other {log['kept_per_second']:,.0f} calls and rewards per second, durable; "
        f"made again from the log {log['made_again_per_second']:,.0f} per second of CPU, the same bytes"
    )
    for one in found["apprentice"].values():
        yield ""
        yield from one["said"]
        yield f"true: its own choice {one['true_own']:.4f}, the learner's {one['true_learner']:.4f}"
    yield ""
    if "no_peers" in found:
        yield f"the client did not run: {found['no_peers']}"
        return
    client = found["client"]
    yield (
        f"azure-cognitiveservices-personalizer: {client['ranks']} ranks, rewards and activations accepted; "
        f"rank p50 {client['rank_p50_ms']:.1f} ms, p99 {client['rank_p99_ms']:.1f} ms, durable"
    )
    yield f"average reward {client['first_fifth']:.2f} in the first fifth, {client['last_fifth']:.2f} in the last"
    for name in ("no_actions", "no_event"):
        one = client[name]
        yield f"{name}: HTTP {one['status']}, {one['code']} at {one['target']}: {one['said']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="where the client's environment is, or is to be made")
    parser.add_argument("--rounds", type=int, default=1000, help="ranks of the client")
    parser.add_argument("--ranks", type=int, default=500, help="ranks in process, for each number of actions")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    print(json.dumps(found, indent=1) if options.json else "\n".join(told(found)))


if __name__ == "__main__":
    main()
