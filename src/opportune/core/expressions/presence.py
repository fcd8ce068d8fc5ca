"""`has(offer.kind)` for declared variables: whether a value was given.

CEL's `has` asks maps. Google's checker takes `has(a.b)` with a declared variable `a.b` for the *value* of `a.b`,
which would make "is it there" mean "is it true". So each such call becomes a stand-in variable of the same length
before the text is checked (places in messages stay right), and a `has` that slips through is refused.
"""

import itertools
import re
from collections.abc import Mapping

from .errors import ExpressionError
from .nodes import Node, Select, walk

RAW = r"[bB]?[rR][bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|\"[^\"\n]*\"|'[^'\n]*')"
COOKED = r"[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
QUOTED = f"{RAW}|{COOKED}"
COMMENT = r"//[^\n]*"
HAS = r"(?<![\w.])has\s*\(\s*(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)\s*\)"
TOKENS = re.compile(f"(?P<quoted>{QUOTED})|(?P<comment>{COMMENT})|{HAS}", re.DOTALL | re.ASCII)
CALLS = re.compile(f"(?P<quoted>{QUOTED})|(?P<has>(?<![\\w.])has\\s*\\()", re.DOTALL | re.ASCII)
PREFIXES = ["".join(letters) + "_" for letters in itertools.product("hH", "aA", "sS")]


def rewrite(text: str, variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the text with stand-ins and without comments, and stand-in -> variable."""
    present: dict[str, str] = {}
    text = TOKENS.sub(lambda found: " " * len(found[0]) if found["comment"] else found[0], text)

    def stand_in(found: re.Match[str]) -> str:
        name = re.sub(r"\s", "", found["name"] or "")
        if name not in variables:
            return found[0]
        body = re.sub(r"\W", "_", found[0][4:], flags=re.ASCII)
        for prefix in PREFIXES:
            candidate = prefix + body
            if candidate not in variables and present.setdefault(candidate, name) == name:
                return candidate
        raise ExpressionError(f"`has({name})` cannot be told apart from other names: rename the variable")

    return TOKENS.sub(stand_in, text), present


def check(rewritten: str, root: Node) -> None:
    """Raise ExpressionError when a `has` of the text is not one of the tree."""
    written = sum(1 for found in CALLS.finditer(rewritten) if found["has"])
    if written != sum(1 for node in walk(root) if isinstance(node, Select) and node.test):
        raise ExpressionError("write `has(name)` with the plain name of a variable or of a map's value")
