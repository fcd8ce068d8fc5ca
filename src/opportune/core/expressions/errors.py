"""What can go wrong with an expression: when it is read (ExpressionError) and when it is evaluated."""

from collections.abc import Iterable


class ExpressionError(ValueError):
    """An expression that cannot be used; `line` and `column` count from 1, `nearest` is the closest known name."""

    def __init__(self, message: str, line: int = 1, column: int = 1, nearest: str | None = None) -> None:
        self.message = message
        self.line = line
        self.column = column
        self.nearest = nearest
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message}; did you mean `{self.nearest}`?" if self.nearest else self.message


class Missing(Exception):
    """A value needed for the answer is absent; `names` says which, in the order met."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        super().__init__("no value for " + ", ".join(f"`{name}`" for name in self.names))


class EvaluationError(Exception):
    """The values are there, but have no answer: overflow, division by zero, no such index."""
