"""Problem documents (RFC 9457): every refusal names the field and the fix; no stack trace reaches a caller."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

PROBLEM_TYPE = "application/problem+json"

TITLES = {
    400: "The request cannot be read",
    401: "The key is missing or not known",
    403: "The key may not do this",
    404: "There is no such thing",
    405: "This method is not possible here",
    409: "This contradicts something that already exists",
    413: "The request is too large",
    422: "The request cannot be carried out as it stands",
    429: "Too many requests",
    500: "Something failed on our side",
    503: "Not now: try again shortly",
}

STATUS_OF_CODE = {
    "invalid_json": 400,
    "unknown_customer": 404,
    "unknown_decision": 404,
    "idempotency_conflict": 409,
    "outcome_conflict": 409,
}


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong: where, and what to do about it."""

    field: str
    message: str


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every answer of status 400 and above."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldProblem, ...] = ()


class HttpProblem(Exception):
    """Raised by a handler to answer with a problem document."""

    def __init__(self, status: int, code: str, detail: str, errors: Sequence[FieldProblem] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)

    def body(self) -> bytes:
        document = ProblemDocument(
            f"https://opportune.invalid/problems/{self.code.replace('_', '-')}",
            TITLES.get(self.status, TITLES[500]),
            self.status,
            self.detail,
            self.errors,
        )
        return msgspec.json.encode(document)


def of_field(code: str, field: str, message: str) -> HttpProblem:
    """The problem of one field; its status follows from the code, 422 where nothing else is said."""
    return HttpProblem(STATUS_OF_CODE.get(code, 422), code, message, (FieldProblem(field, message),))


def fault_of(error: BaseException) -> HttpProblem:
    """The problem of something nobody expected; names its type alone, for its text may hold a personal value."""
    detail = f"this is a fault of the server ({type(error).__name__}); nothing was changed, please report it"
    return HttpProblem(500, "internal", detail)
