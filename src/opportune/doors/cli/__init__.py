"""The command line: each command parses, calls a flow or a view, and prints; products come in as a workbench."""
