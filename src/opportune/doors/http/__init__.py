"""The HTTP door: signals, decisions and outcomes in, answers and problem documents out."""
