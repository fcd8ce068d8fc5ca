"""Looks through files, byte for byte, for texts that must not be there any more.

It runs in a process of its own: a process that opens and closes a file of SQLite's loses its own locks on it
(https://www.sqlite.org/howtocorrupt.html, 2.2), and the scan reads stores that are open beside it. The texts go there
through a pipe, never through its arguments; neither they nor what stands around them is ever said.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

import msgspec
import numpy as np

from opportune.ports import Hit, Scanned

CHUNK_BYTES: Final = 8 * 1024 * 1024
GRAM_BYTES: Final = 4
_TABLE_BITS: Final = 20
_MULTIPLIER: Final = np.uint32(2_654_435_761)

Patterns = Mapping[bytes, str]
"""Bytes to look for, and in which form of writing they are: `utf-8`, `json`, `url`, `utf-16`."""


class _Order(msgspec.Struct):
    roots: list[str]
    texts: list[str]


class FileScanner:
    """Scans its files and folders, and whatever else is named, each time for other texts."""

    def __init__(self, roots: Callable[[], Sequence[Path]], exports: Path | None = None) -> None:
        """`roots` is asked each time: folders and files come and go. What lies in `exports` may be discarded."""
        self._roots = roots
        self._exports = exports

    def __call__(self, texts: Collection[str], also: Sequence[str] = (), *, discard: bool = False) -> Scanned:
        """Raises OSError when the scan itself could not be done."""
        order = msgspec.json.encode(_Order([*map(str, self._roots()), *also], sorted(texts)))
        itself = [sys.executable, "-m", __name__]
        done = subprocess.run(itself, input=order, capture_output=True, check=False)  # noqa: S603 - our own module
        if done.returncode != 0:
            raise OSError(f"the scan for what may be left ended with code {done.returncode}: run it again")
        found = msgspec.json.decode(done.stdout, type=Scanned)
        return self._discarded(found) if discard and found.hits else found

    def _discarded(self, found: Scanned) -> Scanned:
        """What was found, without the exports in which it was: they are removed."""
        exports = self._exports
        paths = {hit.path for hit in found.hits}
        gone = sorted(path for path in paths if exports is not None and Path(path).is_relative_to(exports))
        for path in gone:
            Path(path).unlink(missing_ok=True)
        left = tuple(hit for hit in found.hits if hit.path not in gone)
        return msgspec.structs.replace(found, hits=left, discarded=tuple(gone))


def scan(roots: Sequence[Path], texts: Collection[str]) -> Scanned:
    """Every regular file at or under the roots; a file that vanishes meanwhile is no finding."""
    patterns = patterns_of(texts)
    search = Search(patterns) if patterns else None
    files = size = 0
    hits: list[Hit] = []
    unread: list[str] = []
    for path in _files(roots, unread):
        try:
            read, forms = _scan_file(path, search)
        except FileNotFoundError:
            continue
        except OSError:
            unread.append(str(path))
            continue
        files += 1
        size += read
        hits += [Hit(str(path), form) for form in sorted(forms)]
    return Scanned(files, size, tuple(hits), tuple(unread))


def patterns_of(texts: Collection[str]) -> dict[bytes, str]:
    """The ways in which texts may stand in a file; what is the same in two of them is looked for once."""
    found: dict[bytes, str] = {}
    for text in texts:
        for spelt in {text, text.lower()}:
            escaped = spelt.encode("ascii", "backslashreplace").decode()
            written = {
                "utf-16": (spelt.encode("utf-16-le", "replace"), spelt.encode("utf-16-be", "replace")),
                "url": (quote(spelt, safe="").encode(), quote(spelt).encode(), quote_plus(spelt).encode()),
                "json": (_json(spelt), _json_ascii(spelt), escaped.encode()),
                "utf-8": (spelt.encode("utf-8", "replace"),),
            }
            found.update((data, form) for form, each in written.items() for data in each if len(data) >= GRAM_BYTES)
    return found


class Search:
    """Looks for many patterns at once: every four bytes are held against a table, what fits is looked at closely."""

    def __init__(self, patterns: Patterns) -> None:
        self.longest = max(len(pattern) for pattern in patterns)
        self._by_gram: dict[bytes, list[tuple[bytes, str]]] = {}
        for pattern, form in patterns.items():
            self._by_gram.setdefault(pattern[:GRAM_BYTES], []).append((pattern, form))
        grams = np.frombuffer(b"".join(self._by_gram), dtype="<u4")
        self._table = np.zeros(1 << _TABLE_BITS, dtype=bool)
        self._table[_hashed(grams)] = True

    def forms_in(self, data: bytes) -> set[str]:
        """The forms of all patterns that stand in these bytes."""
        found: set[str] = set()
        for shift in range(GRAM_BYTES):
            whole = (len(data) - shift) // GRAM_BYTES
            if whole <= 0:
                break
            grams = np.frombuffer(data, dtype="<u4", count=whole, offset=shift)
            for place in np.flatnonzero(self._table[_hashed(grams)]).tolist():
                at = shift + place * GRAM_BYTES
                for pattern, form in self._by_gram.get(data[at : at + GRAM_BYTES], ()):
                    if data.startswith(pattern, at):
                        found.add(form)
        return found


def _scan_file(path: Path, search: Search | None) -> tuple[int, set[str]]:
    read, found, tail = 0, set[str](), b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            read += len(chunk)
            if search is not None:
                # What begins in one chunk may end in the next.
                found |= search.forms_in(tail + chunk)
                tail = (tail + chunk)[-(search.longest - 1) :]
    return read, found


def _files(roots: Sequence[Path], unread: list[str]) -> Iterator[Path]:
    for root in roots:
        if root.is_file():
            yield root
            continue
        for folder, _, names in os.walk(root, onerror=lambda error: unread.append(str(error.filename))):
            yield from (path for path in (Path(folder, name) for name in sorted(names)) if path.is_file())


def _hashed(grams: np.ndarray) -> np.ndarray:
    return (grams * _MULTIPLIER) >> np.uint32(32 - _TABLE_BITS)


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]


def _json_ascii(text: str) -> bytes:
    r"""As encoders write it that keep to ASCII: `ü` is `\u00fc`."""
    units = text.encode("utf-16-be", "replace")
    pairs = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(_json(chr(unit)).decode() if unit < 128 else f"\\u{unit:04x}" for unit in pairs).encode()


def _main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=_Order)
    found = scan([Path(root) for root in order.roots], order.texts)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    _main()
