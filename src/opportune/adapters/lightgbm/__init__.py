"""LightGBM as the trainer of uplift learners: imported only when something is trained, never when it is served."""

from opportune.adapters.lightgbm.settings import KNOWN_SETTINGS
from opportune.adapters.lightgbm.train import ALGORITHMS, LightgbmTrainer

__all__ = ["ALGORITHMS", "KNOWN_SETTINGS", "LightgbmTrainer"]
