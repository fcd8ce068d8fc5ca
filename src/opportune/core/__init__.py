"""The pure rooms: facts in, facts out; no I/O, no clock, no randomness, everything is an argument."""
