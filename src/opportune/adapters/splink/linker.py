"""A `Linker` over Splink and DuckDB, in memory: pairs of records that are probably one customer, with the evidence."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import duckdb
import msgspec

from opportune.core.linking import Likely, LinkRecord
from opportune.ports import Linker

SEED: Final = 7
"""Of the sample that estimates chance agreement: equal records give equal pairs."""
CHANCE_PAIRS_MAX: Final = 5_000_000
RECALL_OF_RULES: Final = 0.6
"""What share of true pairs the strict rules below are taken to find, to estimate how common true pairs are."""
FILLED_MIN: Final = 0.02
"""A field that fewer records than this have is left out: nothing could be learned of it."""
RECORDS_MIN: Final = 50
_STRICT: Final = (("first_name", "last_name", "birth_date"), ("email",), ("first_name", "last_name", "phone"))
_COMPARED_TOGETHER: Final = (
    ("email",), ("phone",), ("last_name", "birth_date"), ("first_name", "birth_date"), ("last_name", "postcode"),
    ("first_name", "last_name", "city"), ("first_name", "last_name", "company"), ("first_name", "street"),
)  # fmt: skip
"""Only pairs that agree on one of these are compared at all."""
_LEARNED_FROM: Final = (("first_name", "last_name"), ("birth_date",), ("email",), ("phone",), ("last_name", "postcode"))


class SplinkLinker(Linker):
    """Trains on the records it is given, then scores pairs. Values stay in memory: nothing is spilled to disk."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads

    def pairs(self, records: Iterable[LinkRecord], at_least: float) -> Iterator[Likely]:
        """The most probable first. Nothing for fewer than RECORDS_MIN records: there is nothing to learn from."""
        rows = [msgspec.structs.asdict(record) for record in records]
        if len(rows) < RECORDS_MIN:
            return
        fields = [field for field in LinkRecord.__struct_fields__[1:] if _filled(rows, field) >= FILLED_MIN]
        connection = duckdb.connect(
            ":memory:", config={"threads": self._threads, "temp_directory": "", "preserve_insertion_order": True}
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield from _likely(connection, rows, fields, at_least)
        finally:
            connection.close()


def _likely(
    connection: duckdb.DuckDBPyConnection, rows: Sequence[dict[str, Any]], fields: Sequence[str], at_least: float
) -> Iterator[Likely]:
    import pyarrow
    from splink import DuckDBAPI, SettingsCreator, block_on
    from splink import Linker as Model

    logging.getLogger("splink").setLevel(logging.ERROR)
    columns = {"unique_id": [row["id"] for row in rows]} | {field: [row[field] for row in rows] for field in fields}
    types = {name: pyarrow.string() for name in columns}
    backend = DuckDBAPI(connection)
    table = backend.register(pyarrow.table(columns, schema=pyarrow.schema(types)))
    together = [rule for rule in _COMPARED_TOGETHER if set(rule) <= set(fields)]
    comparisons = _comparisons(set(fields))
    if not together or not comparisons:
        return
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[comparison for _, comparison in comparisons],
        blocking_rules_to_generate_predictions=[block_on(*rule) for rule in together],
        retain_matching_columns=True,
    )
    model = Model(table, settings, log_level=logging.ERROR)
    _train(model, set(fields))
    found = model.inference.predict(threshold_match_probability=at_least, warning_mode="never")
    levels = {name: f"gamma_{name}" for name, _ in comparisons}
    # The levels of a comparison begin with the null level; the last one is disagreement, which counts as 0.
    highest = {name: len(comparison.create_comparison_levels()) - 2 for name, comparison in comparisons}
    chosen = ", ".join(("unique_id_l", "unique_id_r", "match_probability", *levels.values()))
    scored = connection.execute(
        f"SELECT {chosen} FROM {found.physical_name}"  # noqa: S608 - Splink's own names
        " ORDER BY match_probability DESC, unique_id_l, unique_id_r"
    )
    while batch := scored.fetchmany(1000):
        for one, other, probability, *agreed in batch:
            evidence = {
                name: _agreement(level, highest[name]) for name, level in zip(levels, agreed, strict=True)
            }
            yield Likely(one, other, round(float(probability), 6), evidence)


def _comparisons(fields: set[str]) -> list[tuple[str, Any]]:
    """(name, comparison) of what is known of enough records; `home` is one, since a household shares all of it."""
    import splink.comparison_library as cl

    made: list[tuple[str, Any]] = []
    for name in ("first_name", "last_name"):
        if name in fields:
            alike = cl.JaroWinklerAtThresholds(name, [0.92, 0.8])
            made.append((name, alike.configure(term_frequency_adjustments=True)))
    if "birth_date" in fields:
        made.append(("birth_date", cl.DamerauLevenshteinAtThresholds("birth_date", [1, 2])))
    if "email" in fields:
        made.append(("email", cl.EmailComparison("email")))
    if "company" in fields:
        alike = cl.JaroWinklerAtThresholds("company", [0.9])
        made.append(("company", alike.configure(term_frequency_adjustments=True)))
    if home := _home(fields):
        made.append(("home", home))
    return made


def _home(fields: set[str]) -> Any:  # noqa: ANN401 - Splink's
    import splink.comparison_level_library as cll
    import splink.comparison_library as cl

    parts = [field for field in ("phone", "street", "postcode", "city") if field in fields]
    if not parts:
        return None
    unknown = " AND ".join(f"({part}_l IS NULL OR {part}_r IS NULL)" for part in parts)
    levels: list[Any] = [cll.CustomLevel(unknown).configure(is_null_level=True)]
    same = "street_l = street_r AND postcode_l = postcode_r"
    if {"phone", "street", "postcode"} <= fields:
        levels.append(cll.CustomLevel(f"phone_l = phone_r AND {same}", "phone and address"))
    if "phone" in fields:
        levels.append(cll.ExactMatchLevel("phone"))
    if {"street", "postcode"} <= fields:
        levels.append(cll.CustomLevel(same, "address"))
        near = "jaro_winkler_similarity(street_l, street_r) >= 0.9 AND (postcode_l = postcode_r"
        near += " OR city_l = city_r)" if "city" in fields else ")"
        levels.append(cll.CustomLevel(near, "address nearly"))
    if "phone" in fields:
        levels.append(cll.DamerauLevenshteinLevel("phone", 1))
    levels += [cll.ExactMatchLevel(field) for field in ("postcode", "city") if field in fields]
    levels.append(cll.ElseLevel())
    return cl.CustomComparison(levels, output_column_name="home")


def _train(model: Any, fields: set[str]) -> None:  # noqa: ANN401 - Splink's
    """Chance agreement from random pairs; true agreement by expectation maximisation, from pairs that agree on
    something."""
    from splink import block_on
    from splink.internals.exceptions import EMTrainingException, SplinkException

    strict = [block_on(*rule) for rule in _STRICT if set(rule) <= fields]
    if strict:
        try:
            model.training.estimate_probability_two_random_records_match(strict, recall=RECALL_OF_RULES)
        except (SplinkException, ValueError):
            logging.getLogger(__name__).info("no pair agrees by the strict rules: true pairs are taken to be rare")
    model.training.estimate_u_using_random_sampling(max_pairs=CHANCE_PAIRS_MAX, seed=SEED)
    for rule in _LEARNED_FROM:
        if set(rule) <= fields:
            try:
                model.training.estimate_parameters_using_expectation_maximisation(block_on(*rule))
            except EMTrainingException:
                logging.getLogger(__name__).info("nothing to learn from pairs that agree on %s", " and ".join(rule))


def _agreement(level: int, highest: int) -> str:
    if level < 0:
        return "unknown"
    if level == 0:
        return "different"
    return "same" if level >= highest else "alike"


def _filled(rows: Sequence[dict[str, Any]], field: str) -> float:
    return sum(row[field] is not None for row in rows) / len(rows)
