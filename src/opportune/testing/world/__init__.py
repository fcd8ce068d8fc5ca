"""A simulated SaaS company whose true effects are known: a history to learn from, and a present that answers.

Everything follows from a seed and the times handed in; there is no clock here.
"""

from opportune.testing.world.truth import OFFERS, Situation, effect
from opportune.testing.world.world import Assignment, World

__all__ = ["OFFERS", "Assignment", "Situation", "World", "effect"]
