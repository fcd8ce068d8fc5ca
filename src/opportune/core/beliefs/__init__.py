"""Beliefs about offers that no model covers: they work from the first day, and follow what becomes of each offer."""

from opportune.core.beliefs.cells import (
    Cell,
    Cohort,
    Event,
    Form,
    Trial,
    cell_id,
    empty_cell,
    settled,
    standing,
    with_trial,
)
from opportune.core.beliefs.delays import EDGES, Curve
from opportune.core.beliefs.spec import Adaptive, adaptive_problems, form_of, segment_of
from opportune.core.beliefs.table import BeliefTable, Believed, Row, compile_beliefs

__all__ = [
    "EDGES",
    "Adaptive",
    "BeliefTable",
    "Believed",
    "Cell",
    "Cohort",
    "Curve",
    "Event",
    "Form",
    "Row",
    "Trial",
    "adaptive_problems",
    "cell_id",
    "compile_beliefs",
    "empty_cell",
    "form_of",
    "segment_of",
    "settled",
    "standing",
    "with_trial",
]
