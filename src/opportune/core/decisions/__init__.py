"""Decisions: the question, what is seen, the kernel that answers, the record, and the words for it."""
