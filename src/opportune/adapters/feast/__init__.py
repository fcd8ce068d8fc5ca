"""Features that a team serves from the online store of its Feast repository, through Feast's own SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opportune.ports import FeatureReader


class FeastError(Exception):
    """Feast is not installed."""


class FeastReader(FeatureReader):
    """One `FeatureStore` over a repository with a `feature_store.yaml`, opened once; `key` is the entity's join key."""

    def __init__(self, repository: Path, key: str) -> None:
        try:
            import feast  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise FeastError("reading from Feast needs its SDK: pip install 'opportune[feast]'") from None
        self._key = key
        self._store: Any = feast.FeatureStore(repo_path=str(repository))

    def read(
        self, entity: str, id_: str, names: Sequence[str], now_ms: int, left_s: float
    ) -> Mapping[str, tuple[Any, int | None]]:
        """`names` are `<feature view>:<feature>`. Feast keeps the newest value alone and knows no deadline."""
        found = self._store.get_online_features(
            features=list(names), entity_rows=[{self._key: id_}], full_feature_names=True
        ).to_dict(include_event_timestamps=True)
        values: dict[str, tuple[Any, int | None]] = {}
        for name in names:
            column = name.replace(":", "__", 1)
            seconds = found[f"{column}__ts"][0]
            value = found[column][0]
            values[name] = (value, None if value is None or not seconds else int(seconds) * 1000)
        return values
