"""Drift: what comes later held against what training looked like, with few false alarms, and what follows."""

from opportune.core.drift.alarms import share_of_look, surprising
from opportune.core.drift.policy import ACTIONS, KINDS, LIMITS, Action, DriftPolicy, Kind
from opportune.core.drift.reports import Alarm, Measured, Report, Series, decode_report, encode_report
from opportune.core.drift.watch import (
    AnsweredRows,
    SeenRows,
    Watched,
    against,
    alarm_of,
    disagreement,
    look_at_answers,
    look_at_inputs,
    watched,
)

__all__ = [
    "ACTIONS",
    "KINDS",
    "LIMITS",
    "Action",
    "Alarm",
    "AnsweredRows",
    "DriftPolicy",
    "Kind",
    "Measured",
    "Report",
    "SeenRows",
    "Series",
    "Watched",
    "against",
    "alarm_of",
    "decode_report",
    "disagreement",
    "encode_report",
    "look_at_answers",
    "look_at_inputs",
    "share_of_look",
    "surprising",
    "watched",
]
