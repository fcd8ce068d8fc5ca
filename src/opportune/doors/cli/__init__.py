"""The command line: each command parses, calls one flow or one view, and prints; products come in as a workbench."""
