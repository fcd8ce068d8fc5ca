"""The ways in: each door parses, calls one flow or one view, and renders."""
