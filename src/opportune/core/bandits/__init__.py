"""Bandits: learning online which action pays, from rewards seen only for what was done, with exact probabilities."""

from opportune.core.bandits.arms import Arms, ArmSettings, Belief
from opportune.core.bandits.chances import drawn, drawn_all, even_share, inverse_gap, thompson

__all__ = ["ArmSettings", "Arms", "Belief", "drawn", "drawn_all", "even_share", "inverse_gap", "thompson"]
