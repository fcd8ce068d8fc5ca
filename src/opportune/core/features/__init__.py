"""Feature views: declared once, versioned, folded per signal, read as of any time."""

from opportune.core.features.compiled import CompiledViews, Lineage, check_views, compile_views, joint_fold
from opportune.core.features.documents import FeatureError, FeatureSpec, FeatureView, ReaderSpec, ViewTest
from opportune.core.features.outside import Outside, OutsideView
from opportune.core.features.plans import Feature
from opportune.core.features.reader import FeatureVector
from opportune.core.features.replay import PastSignal, ViewTestFailure, read_as_of, run_view_tests
from opportune.core.features.state import UNREAD, EntityFeatures, decode_state, encode_state

__all__ = [
    "UNREAD",
    "CompiledViews",
    "EntityFeatures",
    "Feature",
    "FeatureError",
    "FeatureSpec",
    "FeatureVector",
    "FeatureView",
    "Lineage",
    "Outside",
    "OutsideView",
    "PastSignal",
    "ReaderSpec",
    "ViewTest",
    "ViewTestFailure",
    "check_views",
    "compile_views",
    "decode_state",
    "encode_state",
    "joint_fold",
    "read_as_of",
    "run_view_tests",
]
