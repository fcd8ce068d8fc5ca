"""What is wrong with a view that is read from outside is said at its place."""

from __future__ import annotations

from pathlib import Path

import playbook_folders as folders
import pytest

from opportune.adapters.playbook.examine import examine

SOUND = """\
  - view: warehouse
    version: 1
    entity: account
    owner: data
    purposes: [marketing]
    freshness: 2d
    reader: {kind: sql, path: features.db, table: account_features, entity: account_id, time: computed_at}
    features:
      - {id: ltv, column: ltv_eur, type: double}
      - {id: segment, column: segment, type: string, default: none}
      - {id: rich, derive: ltv > 10.0, type: bool}
"""
POLICIES = """\
policies:
  - {id: permit.all, effect: permit, class: commercial, when: ltv > 1.0, reason: everybody, owner: growth}
"""
FEAST = "{kind: feast, path: /repo, entity: account_id"


def found(folder: Path, text: str, **more: str) -> list[str]:
    folders.write(folder, policies=more.pop("policies", POLICIES), features=folders.FEATURES + text, **more)
    examined = examine(folder)
    return [str(one) for one in examined.problems]


def test_a_sound_view_compiles_and_policies_may_read_it(tmp_path: Path) -> None:
    assert found(tmp_path, SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "place", "says"),
    [
        ("features.db", "../features.db", "16:31", "leads out of the playbook"),
        ("features.db", "a/../../f.db", "16:31", "leads out of the playbook"),
        (", table: account_features", "", "16:5", "missing key `table`"),
        ("kind: sql", "kind: csv", "16:20", "is not one of"),
        ("path: features.db", "file: features.db", "16:13", "path"),
        ("column: segment", "colum: segment", "19:23", "column"),
        ("column: ltv_eur, ", "", "18:9", "name the `column`"),
        ("column: ltv_eur, type: double", "column: ltv_eur", "18:9", "says its `type`"),
        ("type: double}", "type: double, window: 7d}", "18:58", "remove `window`"),
        ("ltv > 10.0", "ltv > 'x'", "20:", "ltv"),
        ("freshness: 2d", "lateness: 2d", "15:15", "folds nothing"),
        ("default: none", "default: 5", "19:63", "is no string"),
        ("{kind: sql, path: features.db, table: account_features, entity: account_id", FEAST, "16:66", "has no `time`"),
        ("{kind: sql, path: features.db, table: account_features, entity: account_id, time: computed_at", FEAST,
         "18:27", "<feature view>:<feature>"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_line_and_column(tmp_path: Path, old: str, new: str, place: str, says: str) -> None:
    assert old in SOUND
    problems = found(tmp_path, SOUND.replace(old, new))
    assert any(one.startswith(f"features/account.yaml:{place}") and says in one for one in problems), problems


def test_a_column_without_a_reader(tmp_path: Path) -> None:
    lines = [line for line in SOUND.splitlines(keepends=True) if "reader:" not in line]
    assert any("belongs to a view with a `reader`" in one for one in found(tmp_path, "".join(lines)))


def test_a_model_cannot_learn_from_what_has_no_past(tmp_path: Path) -> None:
    models = folders.MODELS.replace("[seat_ratio]", "[seat_ratio, rich]")
    problems = found(tmp_path, SOUND, models=models)
    assert len(problems) == 1
    assert problems[0].startswith("models/expansion.yml:4:28: ")
    assert "`rich` is read from outside" in problems[0]
