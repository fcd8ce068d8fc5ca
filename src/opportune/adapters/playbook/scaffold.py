"""Starts a new playbook folder from a sample that ships with the product."""

from __future__ import annotations

import shutil
from pathlib import Path

import opportune
from opportune.adapters.playbook.folder import APP_FILE, COLLECTIONS, SUFFIXES
from opportune.adapters.playbook.schemas import SCHEMA_FOLDER, write_schemas
from opportune.core.wording import closest, listed

_LANGUAGE_SERVER = "# yaml-language-server: $schema="
_NEVER_COPIED = ("__pycache__", ".opportune", SCHEMA_FOLDER)


class ScaffoldError(ValueError):
    """A new folder that cannot be made: no such sample, or something stands in the way."""


def sample_folders() -> dict[str, Path]:
    """Each shipped sample's folder by name: beside the package in a wheel, at the root of a source checkout."""
    package = Path(opportune.__file__).resolve().parent
    roots = (package / "samples", package.parent.parent / "samples")
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            if (path / APP_FILE).is_file():
                found.setdefault(path.name, path)
    return found


def scaffold(target: Path | str, sample: str = "saas") -> tuple[Path, ...]:
    """Copy a sample into `target`, which must be new or empty (a `.git` may be there); returns the files made.

    Each file is told its JSON Schema, so that editors complete. ScaffoldError says what stands in the way.
    """
    samples = sample_folders()
    if sample not in samples:
        nearest = closest(sample, samples)
        hint = f"; did you mean `{nearest}`?" if nearest else f": there are {listed(samples)}"
        raise ScaffoldError(f"no sample `{sample}`{hint}")
    folder = Path(target)
    if folder.exists() and not folder.is_dir():
        raise ScaffoldError(f"`{folder}` is a file: choose another folder")
    if folder.is_dir() and any(path.name != ".git" for path in folder.iterdir()):
        raise ScaffoldError(f"`{folder}` is not empty: choose a new folder")
    ignore = shutil.ignore_patterns(*_NEVER_COPIED)
    shutil.copytree(samples[sample], folder, dirs_exist_ok=True, ignore=ignore)
    for path, schema in _schemas_of(folder):
        _name_schema(path, schema)
    write_schemas(folder)
    return tuple(path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts)


def _schemas_of(folder: Path) -> list[tuple[Path, str]]:
    """Each YAML file of the playbook and its schema, as a path relative to the file."""
    found = [(folder / APP_FILE, f"{SCHEMA_FOLDER}/app.json")]
    for collection in COLLECTIONS:
        inside = folder / collection.folder
        paths = sorted(inside.iterdir()) if inside.is_dir() else []
        schema = f"../{SCHEMA_FOLDER}/{collection.key}.json"
        found.extend((path, schema) for path in paths if path.suffix in SUFFIXES)
    return found


def _name_schema(path: Path, schema: str) -> None:
    content = path.read_text(encoding="utf-8")
    if _LANGUAGE_SERVER not in content:
        path.write_text(f"{_LANGUAGE_SERVER}{schema}\n{content}", encoding="utf-8")
