"""The graph of a lineage as SVG: signals, features, what rests on them, and the decision, from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from markupsafe import Markup

from opportune.doors.console.figures import tag
from opportune.doors.console.phrases import DISPOSITION_WORDS, value
from opportune.views.lineage import Led, LineageView

BOX_WIDTH: Final = 176
BOX_HEIGHT: Final = 44
ACROSS: Final = 56
DOWN: Final = 14
EDGE: Final = 8
TEXT_CHARS: Final = 25
USES_MAX: Final = 8


class Node(msgspec.Struct, frozen=True):
    """One box: two lines of text, and the boxes an arrow leads to it from."""

    id: str
    kind: str
    title: str
    below: str
    inputs: tuple[str, ...] = ()


def lineage_graph(view: LineageView) -> Markup:
    """Every box in the column after the last of what it rests on. Said aloud by its label; the tables say the same."""
    columns = _columns(_nodes(view))
    places: dict[str, tuple[int, int]] = {}
    tallest = max(len(column) for column in columns)
    height = 2 * EDGE + tallest * (BOX_HEIGHT + DOWN) - DOWN
    width = 2 * EDGE + len(columns) * (BOX_WIDTH + ACROSS) - ACROSS
    for index, column in enumerate(columns):
        top = (height - len(column) * (BOX_HEIGHT + DOWN) + DOWN) // 2
        for row, node in enumerate(column):
            places[node.id] = EDGE + index * (BOX_WIDTH + ACROSS), top + row * (BOX_HEIGHT + DOWN)
    nodes = [node for column in columns for node in column]
    arrows = [_arrow(places[above], places[node.id]) for node in nodes for above in node.inputs]
    boxes = [_box(node, *places[node.id]) for node in nodes]
    said = " from ".join(", ".join(node.title for node in column) for column in reversed(columns))
    return tag(
        "svg", Markup("").join([*arrows, *boxes]), class_="graph", viewBox=f"0 0 {width} {height}", width=width,
        height=height, role="img", aria_label=f"Lineage: {said}",
    )  # fmt: skip


def _nodes(view: LineageView) -> list[Node]:
    found: dict[str, Node] = {}
    for made in view.made:
        for type_, count in made.signals.items():
            key = f"signal {type_}"
            known = found.get(key)
            most = max(count, 0 if known is None else int(known.below.split()[0].replace(",", "")))
            found[key] = Node(key, "signal", type_, f"{most:,} {'signal' if most == 1 else 'signals'}")
    for made in view.made:
        above = [f"feature {name}" for name in made.inputs] + [f"signal {type_}" for type_ in made.signals]
        said = "missing" if made.missing else value(made.value.value)
        found[f"feature {made.name}"] = Node(f"feature {made.name}", "feature", made.name, said, tuple(above))
    root = f"feature {view.feature}"
    ends = []
    for one in _most_telling(view.led):
        key = f"{one.use.kind} {one.use.name}"
        if key not in found:
            found[key] = Node(key, "use", one.use.name, f"{one.use.kind}: {one.effect or one.use.how}", (root,))
            ends.append(key)
    said = DISPOSITION_WORDS[view.disposition] + (f": {view.offer}" if view.offer else "")
    found["decision"] = Node("decision", "decision", "Decision", said, tuple(ends) or (root,))
    return list(found.values())


def _most_telling(led: Sequence[Led]) -> list[Led]:
    """What did something in this decision first; features that are derived further are not drawn."""
    return sorted((one for one in led if one.use.kind != "feature"), key=lambda one: not one.effect)[:USES_MAX]


def _columns(nodes: Sequence[Node]) -> list[list[Node]]:
    depth: dict[str, int] = {}
    by_id: Mapping[str, Node] = {node.id: node for node in nodes}

    def of(id_: str) -> int:
        if id_ not in depth:
            depth[id_] = max((of(above) + 1 for above in by_id[id_].inputs), default=0)
        return depth[id_]

    columns: list[list[Node]] = [[] for _ in range(max(of(node.id) for node in nodes) + 1)]
    for node in nodes:
        columns[of(node.id)].append(node)
    return [column for column in columns if column]


def _box(node: Node, x: int, y: int) -> Markup:
    return tag(
        "g",
        Markup("").join(
            (
                tag("title", f"{node.title}: {node.below}"),
                tag("rect", class_=f"box n-{node.kind}", x=x, y=y, width=BOX_WIDTH, height=BOX_HEIGHT, rx=6),
                tag("text", _cut(node.title), class_="name", x=x + 10, y=y + 18),
                tag("text", _cut(node.below), class_="said", x=x + 10, y=y + 34),
            )
        ),
    )


def _arrow(above: tuple[int, int], below: tuple[int, int]) -> Markup:
    """From the right side of one box to the left side of another, as a curve with a head."""
    x, y = above[0] + BOX_WIDTH, above[1] + BOX_HEIGHT // 2
    to_x, to_y = below[0], below[1] + BOX_HEIGHT // 2
    bend = min(ACROSS, to_x - x) // 2
    line = tag("path", class_="link", d=f"M{x} {y} C{x + bend} {y} {to_x - bend} {to_y} {to_x - 5} {to_y}")
    head = tag("path", class_="head-of", d=f"M{to_x - 7} {to_y - 4} L{to_x} {to_y} L{to_x - 7} {to_y + 4} Z")
    return line + head


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 1] + "…"
