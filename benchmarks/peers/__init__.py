"""Peers to measure against: scripts of their own, each run in a throw-away environment that our code never imports."""
