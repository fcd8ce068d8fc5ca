"""A process that backfills while it ingests, batch by batch, and says so; run to be killed. Arguments: folder, seed."""

from __future__ import annotations

import sys
from pathlib import Path

from evolved import first_playbook, next_playbook, random_drafts
from small import region_of

from opportune.flows import backfill as flow
from opportune.testing.clock import FrozenClock

BEFORE = 150
COUNT = 600


def main(folder: Path, seed: int) -> None:
    """Goes on where the log ends: signals that were there before are told apart by their ids."""
    flow.BATCH = 5  # type: ignore[misc]  # smaller, so that there is more to kill between
    told = random_drafts(seed, COUNT)
    book = None if (folder / "records.db").exists() else first_playbook()
    with region_of(folder, book, kind="sqlite", clock=FrozenClock()) as region:
        clock = region.clock
        assert isinstance(clock, FrozenClock)
        sent = 0

        def send(count: int) -> None:
            nonlocal sent
            for wait_ms, draft in told[sent : sent + count]:
                clock.at_ms += wait_ms
                region.ingest.run([draft])
            sent += count

        # The clock stands where it stood: what was sent before is sent again, and is a duplicate.
        send(max(BEFORE, region.records.counts().get("signals", 0)))
        made = region.release(next_playbook()).hash

        def rest() -> None:
            send(2)
            print(sent, flush=True)

        flow.backfill(region, made, rest=rest)
        region.promote(made, "tests", "ready")
        send(COUNT - sent)
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
