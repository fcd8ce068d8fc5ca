"""Models: additive scorecards for the uplift of several offers at once, whose parts are the explanation."""

from opportune.core.models import measures
from opportune.core.models.calibration import calibration_error, calibration_table, platt, sigmoid
from opportune.core.models.card import (
    CARD_VERSION,
    EVERY_OFFER,
    LEAVES_MAX,
    AdditiveHead,
    Calibration,
    CalibrationBin,
    FeatureTable,
    FeatureType,
    Fit,
    Form,
    GateResult,
    ModelError,
    OfferHeads,
    PairTable,
    Scorecard,
    Training,
    Tree,
    card_hash,
    check_card,
    decode_card,
    encode_card,
)
from opportune.core.models.compiled import CompiledModel, Reasons, Scores
from opportune.core.models.compiling import compile_scorecard, compile_scorecards
from opportune.core.models.descriptions import describe, model_card
from opportune.core.models.evaluation import Evaluation, evaluate, score_examples
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
from opportune.core.models.plots import plots_of
from opportune.core.models.populations import Snapshot
from opportune.core.models.report import CurvePoint, Disparity, FairnessRow, ReasonCode, Report, SegmentRow
from opportune.core.models.reports import report_of
from opportune.core.models.snapshot import snapshot_of
from opportune.core.models.trainer import LearnError, Trainer

__all__ = [
    "CARD_VERSION",
    "EVERY_OFFER",
    "LEAVES_MAX",
    "WEIGHT_MAX",
    "AdditiveHead",
    "Calibration",
    "CalibrationBin",
    "CompiledModel",
    "CurvePoint",
    "Disparity",
    "Evaluation",
    "Example",
    "FairnessRow",
    "FeatureTable",
    "FeatureType",
    "Fit",
    "Form",
    "GateResult",
    "LearnError",
    "ModelError",
    "OfferHeads",
    "PairTable",
    "ReasonCode",
    "Reasons",
    "Report",
    "Scorecard",
    "Scores",
    "SegmentRow",
    "Slices",
    "Snapshot",
    "Trainer",
    "Training",
    "TrainingSet",
    "Tree",
    "calibration_error",
    "calibration_table",
    "card_hash",
    "check_card",
    "check_gates",
    "compile_scorecard",
    "compile_scorecards",
    "data_hash",
    "decode_card",
    "describe",
    "encode_card",
    "evaluate",
    "fit_weights",
    "measures",
    "model_card",
    "platt",
    "plots_of",
    "report_of",
    "score_examples",
    "sigmoid",
    "snapshot_of",
    "split_by_time",
    "weights",
]
