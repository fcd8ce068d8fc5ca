"""The pulse: what a window says of the ring, and that threads may record while others look."""

from __future__ import annotations

from threading import Thread

from opportune.adapters.memory.pulse import MemoryPulse


def test_a_window_counts_what_happened_in_it_and_nothing_else() -> None:
    pulse = MemoryPulse()
    pulse.record(939_999, 7_000, "offered")  # a moment too old
    for number in range(100):
        pulse.record(940_001 + number * 100, (number + 1) * 10, "offered" if number % 4 else "no_offer")
    pulse.record(1_000_001, 9_000, "shed")  # not yet

    window = pulse.window(1_000_000, 60)

    assert (window.count, window.seconds, window.rate) == (100, 60, 100 / 60)
    assert (window.p50_us, window.p99_us, window.max_us) == (500, 990, 1_000)
    assert window.mix == {"no_offer": 25, "offered": 75}
    assert dict(window.buckets)[100] == 10
    assert dict(window.buckets)[500] == 30
    assert sum(count for _, count in window.buckets) == 100
    assert window.strip[0] == (10, 100)
    assert window.strip[9] == (10, 1_000)
    assert window.strip[10:] == ((0, 0),) * 50


def test_an_empty_window_has_no_percentiles() -> None:
    window = MemoryPulse().window(1_000_000)

    assert (window.count, window.rate, window.p50_us, window.p99_us, window.mix) == (0, 0.0, None, None, {})


def test_what_takes_longer_than_all_buckets_counts_in_the_last() -> None:
    pulse = MemoryPulse()
    pulse.record(1_000_000, 90_000_000, "fallback")

    assert pulse.window(1_000_000).buckets[-1] == (1_000_000, 1)


def test_a_full_ring_speaks_only_of_the_seconds_it_knows() -> None:
    pulse = MemoryPulse(kept=100)
    for number in range(300):
        pulse.record(1_000_000 + number * 100, 50, "offered")

    window = pulse.window(1_029_900, 60)

    assert window.seconds == 9
    assert window.rate == 10.0


def test_the_ring_remembers_how_long_a_decision_took() -> None:
    pulse = MemoryPulse(kept=2)
    for name in ("a", "b", "c"):
        pulse.record(1, 900, "offered", name, 300)

    assert pulse.took(("a", "b", "c")) == {"b": (900, 300), "c": (900, 300)}


def test_recording_and_looking_go_on_at_once() -> None:
    pulse = MemoryPulse(kept=1_000)

    def record() -> None:
        for number in range(20_000):
            pulse.record(1_000_000, number, "offered", str(number))

    threads = [Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert pulse.window(1_000_000).count <= 1_000
        pulse.took(("5",))
    for thread in threads:
        thread.join()

    assert pulse.window(1_000_000).count == 1_000
