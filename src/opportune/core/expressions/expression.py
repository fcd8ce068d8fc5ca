"""An expression that parsed and type-checked: evaluate it once, or have a Python function made of it."""

from collections.abc import Callable, Mapping, Sequence

from . import generate
from .errors import EvaluationError
from .evaluate import value_of
from .nodes import Node, free_names
from .values import plain


class Expression:
    """One checked CEL expression; made by `parse`, never changed.

    text: as written. type: of its answer. names: the variables it reads. root: the checked tree.
    """

    __slots__ = ("names", "root", "text", "type")

    def __init__(self, text: str, root: Node, type_: str) -> None:
        self.text = text
        self.root = root
        self.type = type_
        self.names = free_names(root)

    def __repr__(self) -> str:
        return f"Expression({self.text!r}, {self.type})"

    def evaluate(self, values: Mapping[str, object]) -> object:
        """Return the answer for the values (variable -> value; None or absent is missing).

        Timestamps and durations are int milliseconds in and out. Raises Missing or EvaluationError.
        """
        try:
            return plain(value_of(self.root, values, {}))
        except RecursionError:
            raise EvaluationError("the values are nested too deeply") from None

    def function(self, parameters: Sequence[str]) -> Callable[..., object]:
        """Return a function of these positional variables that answers as `evaluate` does, faster."""
        return generate.function(self.root, tuple(parameters), self._slow(parameters))[0]

    def python(self, parameters: Sequence[str]) -> str:
        """Return the text of that function, for people."""
        return generate.function(self.root, tuple(parameters), self._slow(parameters))[1]

    def _slow(self, parameters: Sequence[str]) -> Callable[..., object]:
        names = tuple(parameters)
        evaluate = self.evaluate

        def slow(*arguments: object) -> object:
            return evaluate(dict(zip(names, arguments, strict=True)))

        return slow
