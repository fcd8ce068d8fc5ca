"""Places the errors of compiling a loaded playbook: at the character of the expression, in its file."""

from __future__ import annotations

from opportune.adapters.playbook.marks import Marks
from opportune.adapters.playbook.problems import PlaybookProblem
from opportune.core.expressions import ExpressionError
from opportune.core.features import FeatureError
from opportune.core.policies import PolicyError
from opportune.core.wording import dotted


def place_error(marks: Marks, error: PolicyError | FeatureError) -> PlaybookProblem:
    """The problem of a policy or view that does not compile, at the place of its field or inside its expression."""
    if isinstance(error, PolicyError):
        return place_expression_error(marks, "policies", error.policy, (error.field,), error)
    path = ("features", error.feature) if error.feature is not None else ()
    if error.field is not None:
        path = (*path, error.field)
    cause = error.__cause__
    if isinstance(cause, ExpressionError):
        return _problem(marks, "views", error.view, path, error.message, cause.line, cause.column, cause.nearest)
    return _problem(marks, "views", error.view, path, error.message, 1, 1, None)


def place_expression_error(
    marks: Marks,
    collection: str,
    id_: str,
    path: tuple[str | int, ...],
    error: ExpressionError | PolicyError,
) -> PlaybookProblem:
    """The problem of one expression of a document, such as the `requires` of an offer."""
    return _problem(marks, collection, id_, path, error.message, error.line, error.column, error.nearest)


def _problem(
    marks: Marks,
    collection: str,
    id_: str,
    path: tuple[str | int, ...],
    message: str,
    line: int,
    column: int,
    nearest: str | None,
) -> PlaybookProblem:
    if (collection, id_) not in marks.first:
        named = dotted((collection, id_, *path))
        return PlaybookProblem(f"{collection}/", 1, 1, named, message, nearest)
    return marks.problem(collection, id_, path, message, line=line, column=column, nearest=nearest)
