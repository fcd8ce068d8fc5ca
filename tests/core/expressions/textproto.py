"""A reader of protobuf text format, as much as the CEL conformance files need."""

import ast
import re
from typing import Any

TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<word>[-\w.+/]+|\[[\w./]+\])|(?P<sign>[{}<>\[\]:,;])"""
)


def read(source: str) -> dict[str, list[Any]]:
    """Return field -> values; messages are such dicts, strings are bytes, everything else is its word."""
    tokens = [found for found in TOKEN.finditer(source) if found.lastgroup]
    fields, at = message(tokens, 0)
    assert at == len(tokens)
    return fields


def message(tokens: list[re.Match[str]], at: int) -> tuple[dict[str, list[Any]], int]:
    fields: dict[str, list[Any]] = {}
    while at < len(tokens) and tokens[at][0] not in "}>":
        if tokens[at][0] in ",;":
            at += 1
            continue
        name = tokens[at][0]
        at += 1
        if tokens[at][0] == ":":
            at += 1
        value, at = field(tokens, at)
        fields.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return fields, at


def field(tokens: list[re.Match[str]], at: int) -> tuple[Any, int]:
    token = tokens[at]
    if token[0] in "{<":
        inside, at = message(tokens, at + 1)
        return inside, at + 1
    if token[0] == "[":
        found, at = [], at + 1
        while tokens[at][0] != "]":
            if tokens[at][0] == ",":
                at += 1
                continue
            item, at = field(tokens, at)
            found.append(item)
        return found, at + 1
    if token["text"]:
        text = b""
        while at < len(tokens) and tokens[at]["text"]:
            text += unquoted(tokens[at]["text"])
            at += 1
        return text, at
    return token[0], at + 1


def unquoted(text: str) -> bytes:
    body = re.sub(r"[^\x00-\x7f]", lambda found: _bytes(found[0]), text)
    body = re.sub(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", _escaped, body)
    return bytes(ast.literal_eval("b" + body))


def _escaped(found: re.Match[str]) -> str:
    if len(found[1]) > 1:
        return _bytes(chr(int(found[1][1:], 16)))
    return "?" if found[1] == "?" else found[0]


def _bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())
