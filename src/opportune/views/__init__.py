"""Read models for the console and the JSON API: they take ports, return frozen data and never write."""

from opportune.views.decision import DecisionView, decision_view
from opportune.views.ledger import LedgerState, ledger_state
from opportune.views.live import DecisionRow, LiveView, live_rows, live_view
from opportune.views.revenue import Revenue, revenue_view

__all__ = [
    "DecisionRow",
    "DecisionView",
    "LedgerState",
    "LiveView",
    "Revenue",
    "decision_view",
    "ledger_state",
    "live_rows",
    "live_view",
    "revenue_view",
]
