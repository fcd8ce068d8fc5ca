"""The cells of decision tables: `team | pro`, `>= 10`, `[10..20)`, `not(x)`, `missing`, as the CEL that they mean.

The forms are those of DMN's unary tests (S-FEEL, OMG DMN 1.4, chapter 9), and what spreadsheets make of them. What
can be read in two ways, such as `1,5`, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from opportune.core.durations import parse_duration_ms
from opportune.core.expressions import EvaluationError, ExpressionError, parse
from opportune.core.expressions.times import parse_duration, parse_timestamp
from opportune.core.expressions.values import INT_MAX, INT_MIN
from opportune.core.expressions.written import literal, written
from opportune.core.wording import quoted

CELL_CHARS_MAX = 2_000
ANYTHING = frozenset(("", "-", "–", "—"))  # Excel turns a hyphen into a dash
KINDS: Mapping[str, str] = {
    "bool": "`true` or `false`", "int": "a whole number such as `10`", "double": "a number such as `0.5`",
    "string": "a text", "timestamp": "a time such as `2026-11-24` or `2026-11-24T10:00:00Z`",
    "duration": "a duration such as `36h` or `7d`",
}  # fmt: skip
SIGNS = {"≥": ">=", "≤": "<=", "≠": "!=", "<>": "!=", "=<": "<=", "=>": ">=", "=": "=="}
COMPARISON = re.compile(r"(>=|<=|=>|=<|<>|!=|==|≥|≤|≠|>|<|=)\s*")
SPAN = re.compile(r"\s*([\[\](])?(.*?)\.\.(.*?)([\[\])])?\s*\Z", re.DOTALL)
NOT = re.compile(r"not\s*\((.*)\)\s*\Z", re.DOTALL | re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\Z", re.ASCII)
TWO_WAYS = re.compile(r"[+-]?\d+(?:\.\d{3})*,\d+\s*%?\Z|[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?\Z", re.ASCII)
TRUE = frozenset(("true", "yes", "x"))
FALSE = frozenset(("false", "no"))


class CellError(ValueError):
    """A cell that cannot be read; `offset` is where in its text."""

    def __init__(self, message: str, offset: int = 0, nearest: str | None = None) -> None:
        self.message = message
        self.offset = offset
        self.nearest = nearest
        super().__init__(message)


class Column:
    """A column of conditions: what is compared (a variable or an expression), and its type."""

    def __init__(self, subject: str, type_: str, types: Mapping[str, str]) -> None:
        self.type = type_
        self.types = types
        self.plain = subject in types
        self.subject = subject if self.plain else f"({written(parse(subject, types).root)})"
        self.item = type_[5:-1] if type_.startswith("list(") else type_
        self.has = f"has({subject})" if self.plain else ""

    def condition(self, text: str) -> str | None:
        """What a cell demands, as CEL; None when it demands nothing. Raises CellError."""
        if len(text) > CELL_CHARS_MAX:
            raise CellError(f"a cell may have at most {CELL_CHARS_MAX} characters")
        if text.strip() in ANYTHING:
            return None
        return self._any_of(text, 0)

    def one_of(self, texts: Sequence[str]) -> str | None:
        """What a list of cells demands: any one of them."""
        if not texts or any(text.strip() in ANYTHING for text in texts):
            raise CellError("a list holds what may be: leave the cell empty for anything")
        return self._joined([self._one(text, 0) for text in texts])

    def _any_of(self, text: str, offset: int) -> str:
        return self._joined([self._one(part, offset + at) for at, part in pieces(text, self._split_at(text, offset))])

    def _joined(self, terms: list[str]) -> str:
        same = [term[len(self.subject) + 4 :] for term in terms if term.startswith(f"{self.subject} == ")]
        if len(terms) > 1 and len(same) == len(terms):
            return f"{self.subject} in [{', '.join(same)}]"
        return terms[0] if len(terms) == 1 else f"({' || '.join(terms)})"

    def _split_at(self, text: str, offset: int) -> str:
        if self.item in ("int", "double"):
            for at, part in pieces(text, "|"):
                body = COMPARISON.sub("", part.strip(), count=1)
                if TWO_WAYS.match(body):
                    message = f"{quoted(part.strip())} can be read in two ways: write `1.5` for a decimal, `1000` "
                    message += "without a comma, and `1 | 5` for either"
                    raise CellError(message, offset + at)
        return "|,"

    def _one(self, text: str, offset: int) -> str:
        offset += len(text) - len(text.lstrip())
        text = text.strip()
        if not text:
            raise CellError("a value is missing between two separators: remove one, or quote the text", offset)
        low = text.lower()
        if low in ("missing", "null"):
            return f"!{self._has(offset)}"
        if low in ("given", "present"):
            return self._has(offset)
        if found := NOT.match(text):
            return self._not(found[1], offset + found.start(1))
        if low.startswith("not "):
            raise CellError(f"write `not({text[4:].strip()})` with brackets, or the text itself in quotes", offset)
        if span := self._span(text, offset):
            return span
        if found := COMPARISON.match(text):
            sign = SIGNS.get(found[1], found[1])
            return self._compared(sign, text[found.end() :], offset + found.end())
        return self._compared("==", text, offset)

    def _has(self, offset: int) -> str:
        if not self.has:
            raise CellError("`missing` and `given` ask about a variable: head the column with its plain name", offset)
        return self.has

    def _not(self, text: str, offset: int) -> str:
        if text.strip() in ANYTHING:
            raise CellError("`not(...)` needs what is excluded, such as `not(team)`", offset)
        inner = self._any_of(text, offset)
        if inner.startswith("!has("):
            return inner[1:]
        return f"!{inner}" if inner.startswith(("(", "has(")) else f"!({inner})"

    def _span(self, text: str, offset: int) -> str:
        """`[10..20)` and its kin; empty when the text is no span."""
        if text[0] in "'\"{" or ".." not in text:
            return ""
        found = SPAN.match(text)
        bracketed = found is not None and (found[1] or found[4])
        if found is None or (self.item == "string" and not bracketed):
            return ""
        if self.type != self.item or self.item == "bool":
            raise CellError(f"a span needs numbers or times, and this column holds {self._holds()}", offset)
        if bool(found[1]) != bool(found[4]):
            raise CellError("a span has a bracket at both ends, such as `[10..20)`, or at none", offset)
        if not found[2].strip() or not found[3].strip():
            raise CellError("a span has two ends, such as `10..20`: for one end write `>= 10`", offset)
        low, high = self._value(found[2], offset + found.start(2)), self._value(found[3], offset + found.start(3))
        opening = ">" if found[1] in ("(", "]") else ">="
        closing = "<" if found[4] in (")", "[") else "<="
        return f"({self.subject} {opening} {low} && {self.subject} {closing} {high})"

    def _compared(self, sign: str, text: str, offset: int) -> str:
        if not text.strip():
            raise CellError(f"a value is missing after `{sign}`", offset)
        value = self._value(text, offset)
        if self.type != self.item:
            if sign not in ("==", "!="):
                raise CellError(f"`{sign}` does not apply to a list: write an item that must be in it", offset)
            return f"{'' if sign == '==' else '!'}({value} in {self.subject})"
        if self.item == "bool":
            if sign not in ("==", "!="):
                raise CellError(f"`{sign}` does not apply to true and false", offset)
            if value in ("true", "false"):
                return self.subject if (value == "true") == (sign == "==") else f"!{self.subject}"
        return f"{self.subject} {sign} {value}"

    def _value(self, text: str, offset: int) -> str:
        """A value as a CEL literal, or the expression in `{...}`."""
        offset += len(text) - len(text.lstrip())
        text = text.strip()
        if text[0] == "{":
            return self._expression(text, offset)
        quote = text[0] if text[0] in "'\"" else ""
        if quote:
            text = unquoted(text, offset)
        try:
            return self._literal(text, bool(quote))
        except (ValueError, OverflowError, EvaluationError):
            pass
        nearest = text if text in self.types else None
        message = f"{quoted(text)} is not {KINDS.get(self.item, 'a value that can be compared')}"
        if nearest:
            message += f": to compare with the variable, write `{{{text}}}`"
        raise CellError(message, offset)

    def _literal(self, text: str, was_quoted: bool) -> str:
        kind = self.item
        if kind == "string":
            return literal(text, kind)
        if kind == "bool" and not was_quoted and text.lower() in TRUE | FALSE:
            return "true" if text.lower() in TRUE else "false"
        if kind == "timestamp":
            return literal(parse_timestamp(text if len(text) > 10 else f"{text}T00:00:00Z"), kind)
        if kind == "duration":
            return literal(_duration_ms(text), kind)
        if was_quoted or kind not in ("int", "double"):
            raise ValueError
        percent = text.endswith("%") and kind == "double"
        number = text[:-1].rstrip() if percent else text
        if not NUMBER.match(number):
            raise ValueError
        if kind == "double":
            return literal(_finite(float(number)) / 100 if percent else _finite(float(number)), kind)
        return str(_whole(number))

    def _expression(self, text: str, offset: int) -> str:
        if text[-1] != "}":
            raise CellError("the bracket `{` is not closed", offset)
        inner = text[1:-1]
        try:
            found = parse(inner, self.types)
        except ExpressionError as error:
            raise CellError(
                error.message, offset + error.column if error.line == 1 else offset, error.nearest
            ) from None
        if found.type != self.item:
            raise CellError(f"`{inner.strip()}` is {found.type}, and this column holds {self._holds()}", offset)
        return f"({written(found.root)})"

    def _holds(self) -> str:
        return "lists" if self.type != self.item else f"values of type {self.item}"


def pieces(text: str, separators: str) -> Iterator[tuple[int, str]]:
    """The parts between separators as (offset, part); quotes and brackets keep theirs together."""
    start = depth = 0
    quote = ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and not text[start:at].strip(" \t\n=<>!≥≤≠(["):
            quote = char
        elif char in "{(":
            depth += 1
        elif char in "})":
            depth -= 1
        elif char in separators and depth <= 0:
            yield start, text[start:at]
            start, depth = at + 1, 0
    if quote:
        raise CellError(f"the quote {quote} is not closed", start)
    yield start, text[start:]


def unquoted(text: str, offset: int) -> str:
    """The text between quotes of one kind."""
    if len(text) < 2 or text[-1] != text[0]:
        raise CellError(f"the quote {text[0]} is not closed, or something stands behind it", offset)
    return text[1:-1]


def _duration_ms(text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError:
        return int(parse_duration(text))


def _finite(value: float) -> float:
    if value in (float("inf"), float("-inf")):
        raise OverflowError
    return value


def _whole(text: str) -> int:
    value = float(text)
    whole = int(text) if text.lstrip("+-").isdigit() else int(value)
    if whole != value or not INT_MIN <= whole <= INT_MAX:
        raise ValueError
    return whole
