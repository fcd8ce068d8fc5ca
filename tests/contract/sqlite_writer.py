"""The process that `test_sqlite_kill` kills: writes units for ever and prints each number it is told is kept."""

import os
import sys
from threading import Semaphore

from opportune.adapters.sqlite import SqliteRecords
from opportune.adapters.system.vault import FileVault
from opportune.ports import Transaction
from opportune.testing.contracts.records import write_everything


def main(path: str) -> None:
    records = SqliteRecords(path, FileVault(f"{path}-keys"))
    room = Semaphore(32)
    number = records.leaf_count()
    while True:
        number += 1
        room.acquire()

        def work(tx: Transaction, n: int = number) -> None:
            write_everything(tx, n)

        def done(result: object, n: int = number) -> None:
            # One write call per line: a kill cannot leave half of one behind another.
            os.write(1, f"{n if result is None else result!r}\n".encode())
            room.release()

        records.submit(work, done)


if __name__ == "__main__":
    main(sys.argv[1])
