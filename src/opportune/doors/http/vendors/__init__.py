"""Doors people already have: SDKs of Segment, RudderStack and PostHog by a changed URL, and signed webhooks."""
