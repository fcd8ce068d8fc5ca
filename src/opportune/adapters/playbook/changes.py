"""A playbook with one file of policies put in: rules of the same id are replaced, others added."""

from __future__ import annotations

from pathlib import Path

import msgspec

from opportune.adapters.playbook.folder import FILE_KINDS, SHEET_SUFFIX, TABLES
from opportune.adapters.playbook.marks import Located
from opportune.adapters.playbook.nodes import FILE_BYTES_MAX, Entries, Items, Node, read
from opportune.adapters.playbook.problems import PlaybookError, PlaybookProblem
from opportune.adapters.playbook.shapes import convert
from opportune.adapters.playbook.sheets import read_sheet
from opportune.adapters.playbook.tables import rows_of
from opportune.core.playbook import Playbook
from opportune.core.policies import Policy
from opportune.core.policies.table_documents import DecisionTable
from opportune.core.wording import closest, listed, quoted


def with_policies(playbook: Playbook, file: Path) -> Playbook:
    """The playbook with the policies and tables of a file; a table replaces all rows of the one of its name.

    PlaybookError names everything that is wrong with the file; OSError when it cannot be read.
    """
    with file.open("rb") as stream:
        content = stream.read(FILE_BYTES_MAX + 1)
    policies: list[Policy] = []
    tables: list[DecisionTable] = []
    located: list[Located] = []
    problems: list[PlaybookProblem] = []
    if file.suffix == SHEET_SUFFIX:
        text, node, found = read_sheet(file.name, content)
        problems += found
        items: list[tuple[str, Node]] = [] if node is None else [(TABLES.key, node)]
    else:
        text, tree, found = read(file.name, content)
        problems += found
        items = []
        keys = [one.key for one in FILE_KINDS if one.folder == TABLES.folder]
        for entry in tree.entries if isinstance(tree, Entries) else ():
            if entry.name not in keys or not isinstance(entry.value, Items):
                message = f"{quoted(entry.name)} is not read here: a file of policies holds {listed(keys)}"
                problems.append(text.problem(entry.key.start, entry.name, message, closest(entry.name, keys)))
                continue
            items += [(entry.name, item) for item in entry.value.items]
    for position, (key, item) in enumerate(items):
        if key == TABLES.key:
            table, found = convert(text, item, DecisionTable, (key, position))
            tables += [] if table is None else [table]
            located += [] if table is None else [Located(text, item)]
        else:
            policy, found = convert(text, item, Policy, (key, position))
            policies += [] if policy is None else [policy]
        problems += found
    rows = rows_of(playbook, tables, located)
    problems += rows.problems
    if not problems and not policies and not rows.policies:
        problems.append(text.problem(0, "", "the file holds no policy and no table"))
    if problems:
        raise PlaybookError(problems)
    return _replaced(playbook, [*policies, *rows.policies], [table.table for table in tables])


def _replaced(playbook: Playbook, new: list[Policy], tables: list[str]) -> Playbook:
    by_id = {policy.id: policy for policy in new}
    kept = [
        by_id.pop(policy.id, policy)
        for policy in playbook.policies
        if policy.id in by_id or not any(policy.id.startswith(f"{table}.") for table in tables)
    ]
    return msgspec.structs.replace(playbook, policies=(*kept, *by_id.values()))
