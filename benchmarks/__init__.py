"""Benchmarks: each prints its figures and a ratio against a peer or a floor measured in the same run."""
