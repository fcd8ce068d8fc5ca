"""The throw-away environments of the peers: each made once in a cache folder from its list beside this file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
GLUE_REQUIREMENTS = Path(__file__).with_name("glue_requirements.txt")
SECONDS_MAX = 900


class NoPeers(RuntimeError):
    """The peers cannot run here; says exactly why."""


def python_of(
    folder: Path, requirements: Path = REQUIREMENTS, name: str = "environment", *, without_dependencies: bool = False
) -> Path:
    """The interpreter of an environment in `folder`, installed when it is missing or of other requirements.

    `without_dependencies` installs the list and nothing else: a peer may ask for what it does not need here."""
    environment = folder / name
    python, stamp = environment / "bin" / "python", environment / "installed.txt"
    wanted = requirements.read_text()
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    folder.mkdir(parents=True, exist_ok=True)
    print(f"installing the peers into {environment} (once) ...", file=sys.stderr, flush=True)
    base = getattr(sys, "_base_executable", sys.executable)
    _run([base, "-m", "venv", "--clear", str(environment)])
    _run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:",
         *(("--no-deps",) if without_dependencies else ()), "-r", str(requirements)]
    )  # fmt: skip
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPeers(f"`{' '.join(command[:4])} ...` failed: {error}") from error
    if ended.returncode:
        told = [line for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
        raise NoPeers(f"`{' '.join(command[:4])} ...` failed: {' | '.join(told[-3:])}")
