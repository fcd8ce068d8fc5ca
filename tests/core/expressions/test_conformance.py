"""The conformance cases of the CEL specification that apply here, and a count of what does not, with why."""

import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from opportune.core.expressions import EvaluationError, Expression, ExpressionError, Missing, parse
from opportune.core.expressions.columns import column
from opportune.core.expressions.columns_evaluate import answers as answers_of
from opportune.core.expressions.columns_evaluate import over_rows
from opportune.core.expressions.values import plain

from .textproto import read

ROOT = Path(__file__).parents[3]
FOLDER = Path(os.environ.get("OPPORTUNE_SHARED", ROOT.parent / "shared")) / "data" / "cel_conformance"
SCALARS = {"int64_value": "int", "double_value": "double", "string_value": "string", "bool_value": "bool"}
EXTENSIONS = {
    "optionals": "optional values",
    "math_ext": "the math extension",
    "string_ext": "the string extension",
    "macros2": "macros of two variables, an extension",
}
REFUSED = {  # words of a refusal -> why the case does not apply
    "is not supported: types are": "types as values",
    "bytes literals": "bytes",
    "finer than a millisecond": "time finer than a millisecond",
    "keys must all be": "maps with keys other than strings and ints",
    "messages such as": "protobuf messages",
    "pattern": "patterns outside what RE2 and Python agree on",
    "macros may be nested": "macros more than three deep",
    "nested at most": "expressions deeper than 60",
    "the function": "functions of extensions",
    "unknown name": "names of protobuf messages and enums",
    "this is not a CEL expression": "syntax of optional values and escapes",
    "field selection": "syntax of extensions",
}
NOT_APPLICABLE = {  # how many of the 1,935 cases, by what policies have not: a change is looked at, not let pass
    "protobuf messages": 276,
    "the string extension": 216,
    "the math extension": 199,
    "bytes": 106,
    "expressions that do not type-check": 82,
    "optional values": 70,
    "macros of two variables, an extension": 46,
    "types as values": 33,
    "variables of types that policies have not": 24,
    "maps with keys other than strings and ints": 18,
    "names of protobuf messages and enums": 7,
    "time finer than a millisecond": 6,
    "functions of extensions": 1,
}


class NotApplicable(Exception):
    """Why a case says nothing about our language."""


def cases() -> list[tuple[str, dict[str, list[Any]]]]:
    found = []
    for path in sorted(FOLDER.glob("*.textproto")):
        for section in read(path.read_text())["section"]:
            for case in section.get("test", []):
                name = f"{path.stem}/{section['name'][0].decode()}/{case['name'][0].decode()}"
                found.append((name, case))
    return found


def value(message: dict[str, list[Any]]) -> Any:
    """Return a value of the cases in our representation."""
    ((form, (content,)),) = message.items()
    if form in ("int64_value", "uint64_value"):
        return int(content, 0)
    if form == "double_value":
        return float(content)
    if form == "string_value":
        return content.decode()
    if form == "bool_value":
        return content == "true"
    if form == "null_value":
        return None
    if form == "list_value":
        return [value(item) for item in content.get("values", [])]
    if form == "map_value":
        return {value(entry["key"][0]): value(entry["value"][0]) for entry in content.get("entries", [])}
    if form == "object_value":
        return moment(content)
    raise NotApplicable({"bytes_value": "bytes", "type_value": "types as values"}.get(form, "protobuf messages"))


def moment(content: dict[str, list[Any]]) -> int:
    (name, (inside,)), *_ = content.items()
    if not name.endswith(("Timestamp]", "Duration]")):
        raise NotApplicable("protobuf messages")
    nanos = int(inside.get("nanos", ["0"])[0])
    if nanos % 10**6:
        raise NotApplicable("time finer than a millisecond")
    return int(inside.get("seconds", ["0"])[0]) * 1000 + nanos // 10**6


def variables(case: dict[str, list[Any]]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return (declarations, values) of a case's bindings."""
    types, values = {}, {}
    for binding in case.get("bindings", []):
        name, content = binding["key"][0].decode(), binding["value"][0].get("value", [{}])[0]
        (form,) = content or {"none": 0}
        if form == "map_value" and all("string_value" in e["key"][0] for e in content[form][0].get("entries", [])):
            types[name] = "map(string,dyn)"
        elif form in SCALARS:
            types[name] = SCALARS[form]
        else:
            raise NotApplicable("variables of types that policies have not")
        values[name] = value(content)
    for declared in case.get("type_env", []):
        if declared["name"][0].decode() not in types:
            raise NotApplicable("variables of types that policies have not")
    return types, values


def check(name: str, case: dict[str, list[Any]]) -> bool:
    """Run one case; whether it was run, or refused before where an error is wanted. Raises NotApplicable or
    AssertionError."""
    stem = name.split("/")[0]
    if stem in EXTENSIONS:
        raise NotApplicable(EXTENSIONS[stem])
    if case.get("disable_check") == ["true"]:
        raise NotApplicable("expressions that do not type-check")
    if "container" in case and "TestAllTypes" in case["expr"][0].decode():
        raise NotApplicable("protobuf messages")
    types, values = variables(case)
    fails = "eval_error" in case or "any_eval_errors" in case or "unknown" in case
    expected = None if fails else value(case["value"][0]) if "value" in case else True
    try:
        expression = parse(case["expr"][0].decode(), types)
        answers = [
            answer(expression.evaluate, values),
            answer(
                lambda given: expression.function(sorted(types))(*(given.get(n) for n in sorted(types))), values
            ),
            tabled(expression, types, values),
        ]
    except ExpressionError as error:
        why = next((why for words, why in REFUSED.items() if words in str(error)), None)
        if why is not None or not fails:
            raise NotApplicable(why or str(error)) from None
        return False
    for given in answers:
        assert isinstance(given, Exception) if fails else same(given, expected), (name, given, expected)
    return True


def answer(run: Any, values: dict[str, Any]) -> Any:
    try:
        return run(values)
    except (Missing, EvaluationError) as error:
        return error


def tabled(expression: Expression, types: dict[str, str], values: dict[str, Any]) -> Any:
    """The answer of the table evaluation, for the case between two rows that have no values."""
    columns = {name: column(type_, [None, values[name], None]) for name, type_ in types.items()}
    _, found, _ = answers_of(over_rows(expression.root, columns, 3))
    return EvaluationError() if found in ("missing", "EvaluationError") else plain(found)


def same(given: Any, expected: Any) -> bool:
    if isinstance(given, float) and isinstance(expected, float) and math.isnan(expected):
        return math.isnan(given)
    return type(given) is type(expected) and bool(given == expected)


def test_conformance() -> None:
    """Every case that applies passes; the rest is counted by reason."""
    if not FOLDER.is_dir():
        assert os.environ.get("CI") != "true", f"{FOLDER} is absent: set OPPORTUNE_SHARED"
        pytest.skip(f"{FOLDER} is absent: set OPPORTUNE_SHARED")
    passed, refused, skipped, failed = 0, 0, Counter[str](), list[str]()
    every = cases()
    for name, case in every:
        try:
            if check(name, case):
                passed += 1
            else:
                refused += 1
        except NotApplicable as reason:
            skipped[str(reason)] += 1
        except AssertionError as error:
            failed.append(str(error).split("\n")[0])
    print(f"CEL conformance, {len(every)} cases: {len(failed)} failed")
    print(f"  {passed:5} passed, each by the exact evaluator, the generated function and the table evaluation")
    print(f"  {refused:5} passed: the specification wants an error, and ours comes when the text is read")
    print(f"  {skipped.total():5} do not apply, because policies have no such thing:")
    for why, count in skipped.most_common():
        print(f"  {count:5}   {why}")

    assert not failed, "\n".join(failed)
    assert passed + refused + skipped.total() == len(every)
    assert skipped == NOT_APPLICABLE
    assert (passed, refused) == (847, 4)
