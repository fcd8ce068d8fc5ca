"""Serves an application in this process as `opportune serve` does, for benchmarks that load it from another."""

from __future__ import annotations

import asyncio
from multiprocessing.synchronize import Event

import uvicorn
import uvloop

from opportune.doors.http.hot import AsgiApp


def serve_app(app: AsgiApp, port: int, ready: Event, log_level: str = "error") -> None:
    """Serves until the process is ended; `ready` is set once it listens. Idle connections stay open: what is measured
    is the application."""
    config = uvicorn.Config(
        app, port=port, log_level=log_level, access_log=False, lifespan="off", loop="none", timeout_keep_alive=600
    )

    async def run() -> None:
        asyncio.get_running_loop().call_later(0.3, ready.set)
        await uvicorn.Server(config).serve()

    uvloop.run(run())
