"""Drift while a server runs: looked for as windows fill, followed at once, and retraining in a process of its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from opportune.core.models import LearnError
from opportune.doors.cli.background import Background, Rest, Stopped
from opportune.flows.learning.drift_cases import ACTOR, Retrained, approved_cases, follow, retrain
from opportune.flows.region import Region

LOOK_EVERY_S = 30.0
QUIET_MS = 600_000
"""Without new decisions there is a look after this time all the same: label windows end by themselves."""
REST_S = 0.05
POLL_S = 0.2
NICENESS = 10

Train = Callable[[str, Rest], Retrained]
"""Trains a model of the playbook by its name; raises Stopped when the server ends meanwhile."""

_log = logging.getLogger(__name__)


def watcher(region: Region, train: Train | None = None, every_s: float = LOOK_EVERY_S) -> Background:
    """A look every half minute; what is found goes to the log by kind and count, never with a value."""
    counted, looked_ms = -1, 0

    def turn(rest: Rest) -> None:
        nonlocal counted, looked_ms
        decisions, now_ms = region.records.counts()["decisions"], region.clock.now_ms()
        if decisions != counted or now_ms - looked_ms >= QUIET_MS:
            looked = region.drift.check(rest=lambda: rest(REST_S))
            counted, looked_ms = decisions, now_ms
            for report in looked.reports:
                if report.found:
                    kinds = ", ".join(sorted({one.kind for one in report.found}))
                    _log.warning("drift of model %s: %d found (%s)", report.model, len(report.found), kinds)
        for case in follow(region, region.drift):
            _log.warning("drift case %s is %s", case.id, case.status)
        for case in approved_cases(region.drift) if train is not None else []:
            assert train is not None
            done = retrain(region, case.id, lambda model: train(model, rest))
            region.registry.take_in()
            _log.warning("drift case %s is %s", done.id, done.status)

    return Background("drift", every_s, turn)


def training_apart(playbook: Path, region: str) -> Train:
    """Trains by the command `train`, in a process of its own that gives way to the server."""

    def train(model: str, rest: Rest) -> Retrained:
        command = [
            sys.executable, "-m", "opportune.main", "train", model, "--by", ACTOR, "--playbook", str(playbook),
            "--region", region, "--json",
        ]  # fmt: skip
        with subprocess.Popen(  # noqa: S603 - our own command line
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:  # fmt: skip
            if hasattr(os, "setpriority"):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            while True:
                try:
                    out, _ = process.communicate(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    try:
                        rest(0.0)
                    except Stopped:
                        process.terminate()
                        raise
        return retrained_of(out)

    return train


def retrained_of(out: bytes) -> Retrained:
    """What `train --json` printed; LearnError with what it said where it made no card."""
    try:
        found = msgspec.json.decode(out)
    except msgspec.DecodeError:
        raise LearnError("training gave no answer: run `opportune train` to see why") from None
    if "card" not in found:
        raise LearnError(str(found.get("error", "training made no card")))
    failed = [gate["message"] for gate in found["gates"] if not gate["passed"]]
    return Retrained(found["card"], "; ".join(failed))
