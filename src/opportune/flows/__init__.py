"""The stories: the only place where the pure core meets the ports, in numbered steps."""
