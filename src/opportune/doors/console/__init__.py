"""The console: server-rendered pages to watch decisions and to look into one; mounted by the HTTP door."""

from opportune.doors.console.deps import ConsoleDeps
from opportune.doors.console.handlers import console_handlers
from opportune.doors.console.sessions import Sessions

__all__ = ["ConsoleDeps", "Sessions", "console_handlers"]
