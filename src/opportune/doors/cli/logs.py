"""What a server says of its faults: where they happened and of what kind, never the words of an error."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType

_ErrorInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Reticent(logging.Formatter):
    """Formats a fault as its frames and the types of its errors: the text of an error may hold a personal value."""

    def format(self, record: logging.LogRecord) -> str:
        """Another handler may have left the words of the error with the record: they are not used."""
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept

    def formatException(self, ei: _ErrorInfo) -> str:  # noqa: N802 - the name is logging's
        lines: list[str] = []
        error = ei[1]
        while error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [
                *(f'  File "{one.filename}", line {one.lineno}, in {one.name}' for one in frames),
                type(error).__name__, *lines,
            ]  # fmt: skip
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(lines)


def reticent_logs() -> None:
    """Warnings and faults of this process go to stderr, reticently; whoever set up a log of their own keeps it."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Reticent("%(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
