"""Tests of the doors people already have."""
