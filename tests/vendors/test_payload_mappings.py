"""Payload mappings: expressions held against schemas, errors that name the place, and nothing guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opportune.adapters.playbook import PlaybookError, load
from opportune.core.payloads import Call, PayloadError, compile_payloads, drafts_of_call, payload_errors
from opportune.core.playbook import Hook, PayloadMapping, Source
from opportune.core.releases import ReleaseError, compile_release, encode_manifest
from opportune.core.signals import Draft, SignalContract

from .vendor_room import SAMPLE

CONTRACT = SignalContract(
    signal="seats.counted", owner="t",
    schema={
        "type": "object", "required": ["used"], "additionalProperties": False,
        "properties": {"used": {"type": "integer"}, "share": {"type": "number"}, "at": {"type": "string"}},
    },
)  # fmt: skip


def source(*mappings: PayloadMapping, hook: Hook | None = None) -> Source:
    return Source(source="web", title="t", owner="t", payloads=mappings, hook=hook)


def mapping(**fields: Any) -> PayloadMapping:
    given = {"event": "Seats", "vendor": "segment", "type": "seats.counted", "data": {"used": "properties.n"}}
    return PayloadMapping(**{**given, **fields})


def drafts(call: Call, *mappings: PayloadMapping) -> list[Draft]:
    return drafts_of_call(call, compile_payloads([source(*mappings)], [CONTRACT]))


def call(**properties: Any) -> Call:
    base = Draft("segment", "m1", "seats.seen", "2026-01-01T00:00:00Z", "u", "a", data=properties, skew_ms=7)
    event = {"event": "Seats", "properties": properties, "sent": 1_767_225_600_000}
    return Call("segment", "Seats", base, event, properties, {"name": "x"}, {"groupId": "g"})


@pytest.mark.parametrize(
    ("fields", "path", "told"),
    [
        ({"type": "seats.count"}, ("type",), "did you mean `seats.counted`"),
        ({"event": ()}, ("event",), "no event"),
        ({"event": "$identifi"}, ("event",), "did you mean `$identify`"),
        ({"vendor": ()}, ("vendor",), "give the source a `hook`"),
        ({"data": {"used": "propertys.n"}}, ("data", "used"), "did you mean `properties`"),
        ({"data": {"used": "properties.n +"}}, ("data", "used"), "not a CEL expression"),
        ({"data": {"used": "'many'"}}, ("data", "used"), "is string, but `used` of `seats.counted` is int"),
        ({"data": {"used": "1", "share": "'x'"}}, ("data", "share"), "is string"),
        ({"data": {"used": "1", "usd": "1"}}, ("data", "usd"), "did you mean `used`"),
        ({"data": {}}, ("data",), "`used` is missing"),
        ({"when": "1"}, ("when",), "is int, but must be bool"),
        ({"time": "1.5"}, ("time",), "is double, but must be"),
        ({"subject": "[1]"}, ("subject",), "must be string or int"),
        ({"account": "true"}, ("account",), "is bool"),
        ({"id": "{'a': 1}"}, ("id",), "must be string or int"),
    ],
)
def test_what_is_wrong_names_its_place(fields: dict[str, Any], path: tuple[str, ...], told: str) -> None:
    (error,) = payload_errors(source(mapping(), mapping(**fields)), [CONTRACT])
    assert error.path == ("payloads", 1, *path)
    assert told in str(error)
    with pytest.raises(PayloadError, match=r"source `web`, payloads\[1\]"):
        compile_payloads([source(mapping(), mapping(**fields))], [CONTRACT])


def test_types_that_fit_are_taken() -> None:
    good = mapping(data={"used": "properties.n", "share": "1", "at": "timestamp('2026-01-01T00:00:00Z')"})
    (draft,) = drafts(call(n=3), good)
    assert draft.data == {"used": 3, "share": 1, "at": "2026-01-01T00:00:00.000Z"}


def test_convention_fills_what_a_mapping_leaves_open() -> None:
    (draft,) = drafts(call(n=3), mapping())
    assert draft == Draft("segment", "m1", "seats.counted", "2026-01-01T00:00:00Z", "u", "a", None, {"used": 3}, 7)
    (whole,) = drafts(call(n=3, more=1), mapping(data=None))
    assert whole.data == {"n": 3, "more": 1}


def test_every_field_can_be_said() -> None:
    said = mapping(
        id="'x' + string(properties.n)", time="event.sent", subject="traits.name", account="context.groupId"
    )
    (draft,) = drafts(call(n=3), said)
    assert (draft.id, draft.time, draft.subject, draft.account) == ("x3", "2026-01-01T00:00:00.000Z", "x", "g")
    assert draft.skew_ms == 0


def test_a_missing_condition_leaves_out_and_what_cannot_be_worked_out_is_a_problem() -> None:
    assert drafts(call(n=3), mapping(when="properties.n > 5")) == []
    assert drafts(call(n=3), mapping(when="properties.gone == 1")) == []
    (missing,) = drafts(call(), mapping())
    assert (missing.data, missing.problems) == ({}, ())
    (wrong,) = drafts(call(n="x"), mapping(data={"used": "properties.n * 2"}))
    assert [(one.code, one.field) for one in wrong.problems] == [("mapping", "data.used")]
    assert "payloads[0] seats.counted" in wrong.problems[0].message
    (timeless,) = drafts(call(n=1), mapping(time="properties.when"))
    assert [one.field for one in timeless.problems] == ["time"]
    (far,) = drafts(call(n=10**18), mapping(time="properties.n"))
    assert far.time == f"{10**18} ms"


def test_a_second_mapping_makes_a_second_fact() -> None:
    both = drafts(call(n=3), mapping(when="properties.n > 5"), mapping(), mapping(id="'own'"))
    assert [draft.id for draft in both] == ["m1:seats.counted", "own"]


def test_what_nobody_maps_is_by_convention() -> None:
    other = Call("posthog", "Seats", Draft("posthog", "1", "seats.seen"), also=(Draft("posthog", "2", "x"),))
    assert [draft.type for draft in drafts(other, mapping())] == ["seats.seen", "x"]


def test_a_wrong_mapping_keeps_a_playbook_from_loading_and_from_going_live(tmp_path: Path) -> None:
    for path in SAMPLE.rglob("*.yaml"):
        target = tmp_path / path.relative_to(SAMPLE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    web = tmp_path / "sources/web.yaml"
    web.write_text(web.read_text().replace("seats: properties.seats\n", "seats: property.seats\n"))
    with pytest.raises(PlaybookError) as refused:
        load(tmp_path)
    (problem,) = refused.value.problems
    line = web.read_text().splitlines().index("          seats: property.seats") + 1
    assert (problem.file, problem.line) == ("sources/web.yaml", line)
    assert problem.path == "sources.web.payloads[0].data.seats"

    sound = load(SAMPLE).playbook
    unsound = type(sound)(**{
        **{name: getattr(sound, name) for name in sound.__struct_fields__},
        "sources": (source(mapping(type="never.heard")),),
    })  # fmt: skip
    with pytest.raises(ReleaseError, match=r"sources `web`: payloads\[0\].type: unknown signal type"):
        compile_release(encode_manifest(unsound))
