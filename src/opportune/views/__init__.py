"""Read models for the console and the JSON API: they take ports, return frozen data and never write."""

from opportune.views.account import AccountView, account_view
from opportune.views.customer import CustomerView, customer_view
from opportune.views.decision import DecisionView, decision_view
from opportune.views.ledger import LedgerState, ledger_state
from opportune.views.live import DecisionRow, LiveView, live_rows, live_view
from opportune.views.revenue import Revenue, revenue_view

__all__ = [
    "AccountView",
    "CustomerView",
    "DecisionRow",
    "DecisionView",
    "LedgerState",
    "LiveView",
    "Revenue",
    "account_view",
    "customer_view",
    "decision_view",
    "ledger_state",
    "live_rows",
    "live_view",
    "revenue_view",
]
