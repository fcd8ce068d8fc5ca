"""Writes JSON Schemas of the playbook's files, made from the documents' types, so that editors can complete."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from opportune.adapters.playbook.folder import COLLECTIONS, FILE_KINDS
from opportune.core.contracts import DIALECT
from opportune.core.playbook import App
from opportune.core.wording import closest

SCHEMA_FOLDER = ".schema"
SCHEMA_NAMES = ("app", *(one.key for one in COLLECTIONS))


def schema_json(collection: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of one kind of file: `app`, `offers`, `views`, ...; ValueError for another name."""
    if collection == "app":
        (body,), components = _components(App)
    else:
        folders = {one.key: one.folder for one in COLLECTIONS}
        if collection not in folders:
            nearest = closest(collection, SCHEMA_NAMES)
            hint = f"; did you mean `{nearest}`?" if nearest else ""
            raise ValueError(f"`{collection}` is no kind of playbook file{hint}")
        together = [one for one in FILE_KINDS if one.folder == folders[collection]]
        items, components = _components(*(one.kind for one in together))
        lists = {one.key: {"type": "array", "items": item} for one, item in zip(together, items, strict=True)}
        needed = {"required": [collection]} if len(together) == 1 else {"minProperties": 1}
        body = {"type": "object", "properties": lists, **needed, "additionalProperties": False}
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
    return {"$schema": DIALECT, "title": f"opportune {collection}", **body, "$defs": components}


def _components(*kinds: type) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """The schemas of types and of the types they use; `object` accepts anything."""
    schemas, components = msgspec.json.schema_components(
        kinds, schema_hook=lambda _: {"description": "any value"}, ref_template="#/$defs/{name}"
    )
    return schemas, components


def write_schemas(folder: Path | str) -> tuple[Path, ...]:
    """Write `.schema/<name>.json` for every kind of file into a playbook folder; returns the paths."""
    target = Path(folder) / SCHEMA_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name in SCHEMA_NAMES:
        path = target / f"{name}.json"
        path.write_text(json.dumps(schema_json(name), indent=2) + "\n", encoding="utf-8")
        written.append(path)
    return tuple(written)
