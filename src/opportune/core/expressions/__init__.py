"""CEL, the one expression language of policies, features, mappings and guards: parsed, checked, evaluated."""

from .errors import EvaluationError, ExpressionError, Missing
from .evaluate import fold_constants
from .expression import Expression
from .nodes import free_names
from .parse import TYPES, parse

__all__ = [
    "TYPES",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "Missing",
    "fold_constants",
    "free_names",
    "parse",
]
