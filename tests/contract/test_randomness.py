"""Random bytes drawn ahead: nothing is given out twice, not to two threads and not to a forked child."""

import os
from concurrent.futures import ThreadPoolExecutor

from opportune.adapters.system.randomness import DRAWN_BYTES, Randomness


def test_threads_never_get_the_same_bytes() -> None:
    randomness = Randomness()

    def many(_: int) -> list[bytes]:
        return [randomness.take(12) for _ in range(5_000)]

    with ThreadPoolExecutor(8) as pool:
        found = [one for batch in pool.map(many, range(8)) for one in batch]

    assert {len(one) for one in found} == {12}
    assert len(set(found)) == len(found)


def test_every_size_up_to_the_supply_is_given_whole() -> None:
    randomness = Randomness()

    assert [len(randomness.take(size)) for size in (1, DRAWN_BYTES, 33, DRAWN_BYTES - 1, 32)] == [
        1, DRAWN_BYTES, 33, DRAWN_BYTES - 1, 32,
    ]  # fmt: skip


def test_a_forked_child_draws_its_own() -> None:
    randomness = Randomness()
    randomness.take(12)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, randomness.take(12))
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reading, 12) != randomness.take(12)
