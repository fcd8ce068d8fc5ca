"""Every code that a decision can carry has words on the pages."""

from __future__ import annotations

from typing import get_args

from opportune.core.decisions.records import Disposition, Reason
from opportune.core.decisions.shortlist import REASON_OF_STAGE
from opportune.doors.console.phrases import DISPOSITION_MEANS, DISPOSITION_WORDS, REASON_WORDS, STAGE_ORDER, STAGE_WORDS


def test_every_code_has_words() -> None:
    stages = {*REASON_OF_STAGE, "arbitration", "slate", "chosen"}

    assert set(REASON_WORDS) == set(get_args(Reason))
    assert set(DISPOSITION_WORDS) == set(DISPOSITION_MEANS) == set(get_args(Disposition))
    assert set(STAGE_WORDS) == set(STAGE_ORDER) == stages
