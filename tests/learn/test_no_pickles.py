"""No pickle is opened from training to serving: an audit hook, which nothing in the process can take out, looks on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = '''
import pickle, sys
opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event == "pickle.find_class" else None)
import msgspec
sys.path.insert(0, "tests/flows")
from pathlib import Path
from small import ask, consenting, playbook, question, region_of, say
from opportune.adapters.onnx import OnnxModel
from opportune.core.models import ModelError, decode_card, encode_card
from opportune.core.playbook import ModelSpec
from opportune.flows.learning.learn import train
from opportune.testing.world.effects import NAMES, KnownEffects
from opportune.wiring import trainer_of

settings = {
    "additive": {}, "ebm": {"outer_bags": 2, "max_rounds": 50},
    "t_learner": {"num_iterations": 10},
}
for algorithm, own in settings.items():
    spec = ModelSpec(model="m", owner="o", features=NAMES, algorithm=algorithm, settings=own)
    card = train(spec, KnownEffects(3).log(1200, ("seats_10",)), ("seats_10",), trainer_of(spec))
    assert decode_card(encode_card(card)) == card
small = playbook(limits=())
with region_of(Path(sys.argv[1]), small, kind="sqlite") as region:
    consenting(region, "ada")
    assert ask(region, question("ada")).result(30).offer is not None
try:
    OnnxModel(pickle.dumps(Path("x")), "m", ())
except ModelError:
    pass
assert not opened, opened
pickle.loads(pickle.dumps(Path("x")))
assert opened, "the hook sees nothing"
print("no pickle was opened")
'''


def test_no_pickle_is_opened(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path)], cwd=root, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert ran.stdout.strip() == "no pickle was opened", ran.stderr[-2000:]
