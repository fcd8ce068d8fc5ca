"""The demonstration: a simulated company against the real server, from an empty folder to figures."""
