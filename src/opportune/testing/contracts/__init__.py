"""The contract of each port as a suite of tests: an adapter's own test is a subclass of a few lines."""
