"""Durable writing of many small files: temporary, fsync, rename, fsync of the folders."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FSYNC_THREADS = 8


class Disk:
    """The five things asked of a file system; a test replaces one and makes it fail."""

    def make_folder(self, path: Path) -> None:
        path.mkdir()

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def sync(self, path: Path) -> None:
        """Wait until a file's bytes, or a folder's names, are on stable storage."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink()

    def sync_all(self, paths: Sequence[Path]) -> None:
        """Sync in parallel: the file system joins waiting fsyncs into few commits of its journal."""
        if len(paths) < FSYNC_THREADS:
            for path in paths:
                self.sync(path)
            return
        with ThreadPoolExecutor(FSYNC_THREADS) as pool:
            list(pool.map(self.sync, paths))

    def install(self, files: Mapping[Path, bytes], scratch: Path) -> None:
        """Put every file in place, whole or not at all, and return when all of them are durable.

        `scratch` is an existing folder on the same file system. Nothing is ordered between the files of
        one call; what must come later goes into a later call.
        """
        temporary = {target: scratch / f"{n}.new" for n, target in enumerate(files)}
        for target, source in temporary.items():
            self.write(source, files[target])
        self.sync_all(list(temporary.values()))
        named: dict[Path, None] = {}
        for target, source in temporary.items():
            for folder in self.make_folders(target.parent):
                named[folder] = None
            self.rename(source, target)
            named[target.parent] = None
        self.sync_all(list(named))

    def make_folders(self, path: Path) -> list[Path]:
        """Make what is missing of a path; the folders whose names changed, to be synced."""
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for folder in reversed(missing):
            self.make_folder(folder)
        return [folder.parent for folder in missing]
