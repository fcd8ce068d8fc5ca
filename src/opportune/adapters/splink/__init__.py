"""Probabilistic record linkage with Splink (extra `identity`): Fellegi and Sunter's model, trained without labels."""

from opportune.adapters.splink.linker import SplinkLinker

__all__ = ["SplinkLinker"]
