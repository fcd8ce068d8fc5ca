"""Regular expressions of `matches`: the part RE2 and Python agree on, and no pattern that can run away.

CEL prescribes RE2 (https://github.com/google/re2/wiki/Syntax). Python's engine stands in for it, so a pattern is
refused when the two could differ or when backtracking could take exponential time.
"""

import re
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from .errors import EvaluationError

SUBJECT_CHARS_MAX = 4096
UNBOUNDED_MAX = 4
REFUSED = {
    codes.ASSERT: "look-around",
    codes.ASSERT_NOT: "look-around",
    codes.GROUPREF: "a back-reference",
    codes.GROUPREF_EXISTS: "a conditional group",
    codes.ATOMIC_GROUP: "an atomic group",
    codes.POSSESSIVE_REPEAT: "a possessive repeat",
}
TRANSLATED = {r"\z": r"\Z", r"\s": r"[\t\n\f\r ]", r"\S": r"[^\t\n\f\r ]"}


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern; raises EvaluationError that says what is refused."""
    translated = translate(pattern)
    try:
        tree = parser.parse(translated, re.ASCII)
        check(tree, unbounded=False)
        if tree.state.flags & (re.VERBOSE | re.UNICODE | re.LOCALE):
            raise EvaluationError(f"the pattern `{pattern}` uses a flag other than i, m and s")
        return re.compile(translated, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise EvaluationError(f"`{pattern}` is not a valid pattern: {error}") from None


def translate(pattern: str) -> str:
    r"""Rewrite what has the same meaning under another spelling: RE2's `$` and `\z` are Python's `\Z`."""
    out, at, in_class = [], 0, False
    multiline = bool(re.search(r"\(\?[a-z]*m", pattern))
    while at < len(pattern):
        char = pattern[at]
        two = pattern[at : at + 2]
        if char == "\\":
            if two[1:] in "pPQECZv" or (in_class and two in (r"\s", r"\S", r"\z", r"\b", r"\A")):
                raise EvaluationError(f"`{two}` in the pattern `{pattern}` is not supported")
            out.append(TRANSLATED.get(two, two))
            at += 2
            continue
        if char == "[":
            if in_class and two == "[:":
                raise EvaluationError(f"`[:` in the pattern `{pattern}` is not supported: write the range")
            in_class = True
        elif char == "]" and in_class and not opens_class(pattern, at):
            in_class = False
        out.append(r"\Z" if char == "$" and not in_class and not multiline else char)
        at += 1
    return "".join(out)


def opens_class(pattern: str, at: int) -> bool:
    """Say whether a `]` stands first in its class and so is an ordinary character."""
    return pattern[at - 1] == "[" or (pattern[at - 2 : at] == "[^")


def check(tree: Any, *, unbounded: bool) -> int:  # noqa: ANN401 - the parser of `re` has no types
    """Return the number of unbounded repeats; raises EvaluationError for what is refused."""
    count = 0
    for code, argument in tree:
        if code in REFUSED:
            raise EvaluationError(f"{REFUSED[code]} in a pattern is not supported")
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            low, high, inside = argument
            endless = high is codes.MAXREPEAT or high > 100
            if endless and unbounded:
                raise EvaluationError("a repeat inside a repeat in a pattern is not supported: it could run away")
            if high is not codes.MAXREPEAT and (high > 1000 or low > 1000):
                raise EvaluationError("a pattern repeats something more than 1,000 times")
            count += endless + check(inside, unbounded=unbounded or high is codes.MAXREPEAT or high > 1)
        elif code is codes.BRANCH:
            if unbounded:
                raise EvaluationError("alternatives inside a repeat in a pattern are not supported: write a class")
            count += sum(check(branch, unbounded=unbounded) for branch in argument[1])
        elif code is codes.SUBPATTERN:
            count += check(argument[3], unbounded=unbounded)
    if count > UNBOUNDED_MAX:
        raise EvaluationError(f"a pattern may hold at most {UNBOUNDED_MAX} unbounded repeats")
    return count


def matches(subject: object, pattern: object) -> bool:
    """Say whether the pattern is found anywhere in the subject."""
    if type(subject) is not str or type(pattern) is not str:
        raise EvaluationError("`matches` needs two strings")
    if len(subject) > SUBJECT_CHARS_MAX:
        raise EvaluationError(f"`matches` reads at most {SUBJECT_CHARS_MAX} characters")
    return compiled(pattern).search(subject) is not None
