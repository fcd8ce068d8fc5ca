"""A read across regions cannot be written: nothing can hold two regions, and only the wiring can make one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/opportune"
INSIDE = sorted(path for room in ("flows", "views", "doors") for path in (PACKAGE / room).rglob("*.py"))
EVERYWHERE = sorted(PACKAGE.rglob("*.py"))

OF_A_REGION = {"Region", "Records", "Vault", "Ledger", "Seal"}
"""What belongs to one region. Whoever holds one holds one of each, and never a collection of them."""

MAKERS = {"Region", "open_region", "open_for_reading", "region_over", "vault_of", "SqliteRecords", "SqliteReading",
          "FileVault", "PublishedLedger", "shelf_of", "FileShelf"}  # fmt: skip
"""What opens something of a region, given its folder."""

MAY_MAKE = {"wiring.py", "main.py"}
OPENS = {"writing", "reading"}


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def names_in(annotation: ast.expr | None) -> list[str]:
    """The names of an annotation, also where it is written as text."""
    if annotation is None:
        return []
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return names_in(ast.parse(annotation.value, mode="eval").body)
        except SyntaxError:
            return []  # a word of a Literal, or a key
    return [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)] + [
        node.attr for node in ast.walk(annotation) if isinstance(node, ast.Attribute)
    ]


def collections_of(tree: ast.AST) -> Iterator[str]:
    """Annotations that would hold several of what belongs to a region, or name one among others by a key."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name | ast.Attribute):
            continue
        kind = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
        # One at a time is handed in by these: a way to get it, a context that opens it, a way to inject it.
        if kind in ("Callable", "AbstractContextManager", "Iterator", "SkipValidation", "NamedDependency", "Annotated"):
            takes = node.slice.elts[0] if kind == "Callable" and isinstance(node.slice, ast.Tuple) else None
            if takes is not None and sum(name in OF_A_REGION for name in names_in(takes)) > 1:
                yield ast.unparse(node)
            continue
        if any(name in OF_A_REGION for name in names_in(node.slice)):
            yield ast.unparse(node)


def held_twice(tree: ast.AST) -> Iterator[str]:
    """Functions and classes that take two of the same thing of a region."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            annotations = [one.annotation for one in given]
            if node.args.vararg is not None and names_in(node.args.vararg.annotation):
                annotations += [node.args.vararg.annotation] * 2
        elif isinstance(node, ast.ClassDef):
            annotations = [one.annotation for one in node.body if isinstance(one, ast.AnnAssign)]
        else:
            continue
        held = [name for annotation in annotations for name in set(names_in(annotation)) if name in OF_A_REGION]
        yield from (f"{node.name}: {name}" for name in OF_A_REGION if held.count(name) > 1)


def opened_twice(tree: ast.AST) -> Iterator[str]:
    """Functions that find the place of two regions, or open one inside another."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
            attributes = [one.func.attr for one in calls if isinstance(one.func, ast.Attribute)]
            other = any(isinstance(one, ast.Attribute) and ast.unparse(one) == "place.of" for one in ast.walk(node))
            if attributes.count("place") > 1 or other:
                yield f"{node.name} finds two places"
        if isinstance(node, ast.With):
            inner = [one for body in node.body for one in ast.walk(body) if isinstance(one, ast.With)]
            if opens(node) and (len(opens(node)) > 1 or any(opens(one) for one in inner)):
                yield f"line {node.lineno} opens a region inside another"


def opens(node: ast.With) -> list[str]:
    found = []
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call):
            found += ["opens"] * bool(OPENS.intersection(names_in(call.func)))
    return found


@pytest.mark.parametrize("path", EVERYWHERE, ids=named)
def test_only_the_wiring_opens_a_region(path: Path) -> None:
    if path.name in MAY_MAKE and path.parent == PACKAGE:
        return
    tree = ast.parse(path.read_text())
    made = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS
    }
    assert made == set()


@pytest.mark.parametrize("path", INSIDE, ids=named)
def test_no_flow_view_or_door_holds_two_regions(path: Path) -> None:
    tree = ast.parse(path.read_text())

    assert list(collections_of(tree)) == []
    assert list(held_twice(tree)) == []
    assert list(opened_twice(tree)) == []


@pytest.mark.parametrize(
    "code",
    [
        "def merge(here: Records, there: Records): ...",
        "def merge(regions: dict[str, Region]): ...",
        "def merge(regions: Sequence[Region]): ...",
        "def merge(*regions: Region): ...",
        "def merge(here: 'Region', there: 'Region | None'): ...",
        "class Both:\n    eu: Vault\n    us: Vault",
        "class Both:\n    region_of: Mapping[str, Callable[[], Region]]",
        "def merge(copy: Callable[[Records, Records], None]): ...",
        "def both(bench):\n    one, two = bench.place(here, 'eu'), bench.place(here, 'us')",
        "def both(bench, place):\n    return bench.cards(place.of('us'))",
        "def both(bench, eu, us):\n    with bench.reading(eu) as one, bench.writing(us) as two: ...",
        "def both(bench, eu, us):\n    with bench.reading(eu) as one:\n        with bench.writing(us) as two: ...",
    ],
)
def test_what_would_hold_two_is_seen(code: str) -> None:
    tree = ast.parse(code)

    assert [*collections_of(tree), *held_twice(tree), *opened_twice(tree)] != []


@pytest.mark.parametrize(
    "code",
    [
        "class Flow:\n    records: Records\n    vault: Vault\n    ledger: Ledger",
        "def door(region: Callable[[], Region], records: Records): ...",
        "def command(bench, folder, name):\n    with bench.writing(bench.place(folder, name)) as region: ...",
    ],
)
def test_what_holds_one_is_let_be(code: str) -> None:
    tree = ast.parse(code)

    assert [*collections_of(tree), *held_twice(tree), *opened_twice(tree)] == []
