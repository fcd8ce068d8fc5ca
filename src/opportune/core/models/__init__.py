"""Models: additive scorecards for the uplift of several offers at once, whose parts are the explanation."""

from opportune.core.models import measures
from opportune.core.models.calibration import calibration_error, calibration_table, platt, sigmoid
from opportune.core.models.card import (
    CARD_VERSION,
    AdditiveHead,
    Calibration,
    CalibrationBin,
    FeatureTable,
    FeatureType,
    Fit,
    GateResult,
    ModelError,
    OfferHeads,
    Scorecard,
    Training,
    card_hash,
    check_card,
    decode_card,
    encode_card,
)
from opportune.core.models.compiled import CompiledModel, Reasons, Scores, compile_scorecard
from opportune.core.models.descriptions import describe, model_card
from opportune.core.models.evaluation import Evaluation, evaluate
from opportune.core.models.examples import (
    WEIGHT_MAX,
    Example,
    Slices,
    TrainingSet,
    data_hash,
    fit_weights,
    split_by_time,
    weights,
)
from opportune.core.models.gates import check_gates
from opportune.core.models.trainer import LearnError, Trainer

__all__ = [
    "CARD_VERSION",
    "WEIGHT_MAX",
    "AdditiveHead",
    "Calibration",
    "CalibrationBin",
    "CompiledModel",
    "Evaluation",
    "Example",
    "FeatureTable",
    "FeatureType",
    "Fit",
    "GateResult",
    "LearnError",
    "ModelError",
    "OfferHeads",
    "Reasons",
    "Scorecard",
    "Scores",
    "Slices",
    "Trainer",
    "Training",
    "TrainingSet",
    "calibration_error",
    "calibration_table",
    "card_hash",
    "check_card",
    "check_gates",
    "compile_scorecard",
    "data_hash",
    "decode_card",
    "describe",
    "encode_card",
    "evaluate",
    "fit_weights",
    "measures",
    "model_card",
    "platt",
    "sigmoid",
    "split_by_time",
    "weights",
]
