"""Quiet hours where the customer is, over every change of clocks: a minute is silent or not, and so is each instant."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opportune.core.catalog import Channel, QuietHours
from opportune.core.contacts import QuietRule, compile_quiet_hours, in_quiet_hours, local_time, quiet_from_ms

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
ODD_ZONES = (
    "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe",
    "Pacific/Chatham", "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Tehran", "Antarctica/Troll",
    "America/Santiago", "Asia/Pyongyang", "Europe/Dublin", "Australia/Adelaide", "Asia/Kolkata", "UTC",
)  # fmt: skip
"""Half and quarter hours, half an hour of summer time, two hours of it, no midnight, days left out, moved offsets."""


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


CHANGES = [
    ("Europe/Berlin", ms("2026-03-29T01:00+00:00")),  # spring: 02:00 becomes 03:00
    ("Europe/Berlin", ms("2026-10-25T01:00+00:00")),  # autumn: 03:00 becomes 02:00
    ("America/New_York", ms("2026-03-08T07:00+00:00")),
    ("America/New_York", ms("2026-11-01T06:00+00:00")),
    ("Australia/Lord_Howe", ms("2026-04-04T15:00+00:00")),  # half an hour
    ("Australia/Lord_Howe", ms("2026-10-03T15:30+00:00")),
    ("Pacific/Apia", ms("2011-12-30T10:00+00:00")),  # a whole day was left out
    ("America/Sao_Paulo", ms("2018-11-04T03:00+00:00")),  # midnight did not happen
    ("America/Santiago", ms("2026-09-06T04:00+00:00")),
    ("Antarctica/Troll", ms("2026-03-29T01:00+00:00")),  # two hours
    ("Asia/Pyongyang", ms("2018-05-04T15:00+00:00")),  # moved its offset for good
    ("Africa/Casablanca", ms("2026-02-15T02:00+00:00")),  # back for Ramadan
]
ZONES = st.sampled_from(ODD_ZONES) | st.sampled_from(sorted(available_timezones()))
RULES = st.builds(
    QuietRule, st.just("q"), st.just("email"), st.integers(0, 1439), st.integers(0, 1439),
    st.sampled_from(((), (5, 6), (0,))),
)  # fmt: skip
WHEN = st.one_of(
    st.integers(ms("2010-01-01T00:00+00:00"), ms("2037-12-31T00:00+00:00")),
    st.tuples(st.sampled_from([at for _, at in CHANGES]), st.integers(-26 * HOUR_MS, 2 * HOUR_MS)).map(sum),
)


def silent(rule: QuietRule, at_ms: int, zone: str) -> bool:
    """As anybody would say it: what does a clock on the wall show there?"""
    there = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(ZoneInfo(zone))
    minute = there.hour * 60 + there.minute
    start, end = rule.start_minute, rule.end_minute
    within = start <= minute < end if start <= end else minute >= start or minute < end
    return within or there.weekday() in rule.days


def first_silent(rule: QuietRule, now_ms: int, zone: str, until_ms: int) -> int | None:
    """Minute by minute: silence begins and ends with a minute of the local clock, and clocks change on a minute."""
    at_ms = now_ms - now_ms % MINUTE_MS + MINUTE_MS
    while at_ms < until_ms:
        if silent(rule, at_ms, zone):
            return at_ms
        at_ms += MINUTE_MS
    return None


def check(rule: QuietRule, now_ms: int, zone: str, hours: int) -> None:
    minute, day = local_time(now_ms, zone)
    assert in_quiet_hours(rule, minute, day) == silent(rule, now_ms, zone)
    if silent(rule, now_ms, zone):
        return
    until_ms = now_ms + hours * HOUR_MS
    assert quiet_from_ms(rule, now_ms, zone, "UTC", until_ms) == first_silent(rule, now_ms, zone, until_ms)


@settings(max_examples=150, deadline=None)
@given(RULES, WHEN, ZONES, st.sampled_from((1, 12, 30)))
@example(QuietRule("q", "email", 20 * 60, 8 * 60), ms("2026-10-24T20:30+00:00"), "Europe/Berlin", 30)
def test_the_next_silence_is_the_first_silent_instant_in_any_zone(
    rule: QuietRule, now_ms: int, zone: str, hours: int
) -> None:
    check(rule, now_ms, zone, hours)


@pytest.mark.parametrize(("zone", "change_ms"), CHANGES, ids=[f"{zone}-{at}" for zone, at in CHANGES])
def test_around_every_kind_of_change(zone: str, change_ms: int) -> None:
    for start, end in ((20 * 60, 8 * 60), (2 * 60 + 15, 2 * 60 + 45), (0, 30), (1 * 60 + 30, 3 * 60), (23 * 60, 1)):
        rule = QuietRule("q", "email", start, end)
        for before_ms in (26 * HOUR_MS, 3 * HOUR_MS, 31 * MINUTE_MS, 1, 0, -20 * MINUTE_MS):
            check(rule, change_ms - before_ms, zone, 30)


@pytest.mark.torture
@settings(max_examples=20_000, deadline=None)
@given(RULES, WHEN, ZONES, st.sampled_from((1, 12, 30)))
def test_twenty_thousand_times(rule: QuietRule, now_ms: int, zone: str, hours: int) -> None:
    check(rule, now_ms, zone, hours)


@pytest.mark.parametrize("zone", ["Berlin", "Europe", "../../etc/passwd", "GMT+25:99", "\x00", "x" * 300, ""])
def test_a_zone_that_nobody_knows_is_the_playbooks(zone: str) -> None:
    at_ms = ms("2026-11-24T10:30+00:00")
    assert local_time(at_ms, zone, "Asia/Kathmandu") == (16 * 60 + 15, 1)
    assert local_time(at_ms, zone, zone) == (10 * 60 + 30, 1)
    rule = QuietRule("q", "email", 20 * 60, 8 * 60)
    assert quiet_from_ms(rule, at_ms, zone, "Asia/Kathmandu", at_ms + DAY_MS) == ms("2026-11-24T14:15+00:00")


def test_days_are_silent_as_a_whole() -> None:
    hours = QuietHours(start="22:00", end="07:00", days=("sat", "sun"))
    (rule,) = compile_quiet_hours([Channel(channel="email", title="E-mail", kind="push", quiet_hours=hours)])
    assert rule == QuietRule("email.quiet_hours", "email", 22 * 60, 7 * 60, (5, 6))
    friday_noon = ms("2026-11-27T12:00+00:00")
    assert [in_quiet_hours(rule, 12 * 60, day) for day in range(7)] == [False] * 5 + [True] * 2
    assert quiet_from_ms(rule, friday_noon, "UTC", "UTC", friday_noon + DAY_MS) == ms("2026-11-27T22:00+00:00")
