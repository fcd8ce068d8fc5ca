"""Opportune: agent-assisted upselling, governed, explained and inside a latency budget."""

__version__ = "0.1.0"
