"""Feature views: declared once, versioned, folded per signal, read as of any time."""

from opportune.core.features.documents import FeatureError, FeatureSpec, FeatureView
from opportune.core.features.state import UNREAD, EntityFeatures, decode_state, encode_state

__all__ = [
    "UNREAD",
    "EntityFeatures",
    "FeatureError",
    "FeatureSpec",
    "FeatureView",
    "decode_state",
    "encode_state",
]
