"""The published log as a folder of static files in C2SP tlog-tiles layout, written so that a crash loses nothing.

`checkpoint` and `tile/` may be served as they are; `state/` is private:
`state/signed` (the last checkpoint ever signed), `state/lock`, `state/scratch/` (files being written).
"""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opportune.adapters.files.disk import Disk
from opportune.core.ledger import (
    HASH_BYTES,
    TILE_WIDTH,
    Checkpoint,
    LedgerError,
    LogProof,
    TileRef,
    Tree,
    check_inclusion,
    consistency_proof,
    encode_proof,
    first_difference,
    growth,
    inclusion_proof,
    leaf_hash,
    level_count,
    open_checkpoint,
    parse_tile_path,
    parse_vkey,
    sign_checkpoint,
    tile_hashes,
    tile_path,
    vkey,
)

Entries = Callable[[int, int], Sequence[bytes]]
"""(start, stop) -> the committed entries of that range in log order; fewer if the log ends before `stop`."""

CHUNK_ENTRIES = 100 * TILE_WIDTH


class TileNotFoundError(LedgerError):
    """There is no such tile; a door answers 404."""


class TileLog:
    """One log in one folder, with one signing key; `origin` is its name and the key's name.

    Reads need no key operation and no lock and may run beside `publish`. Nothing is opened before the
    first call; the first `publish` is also the recovery.
    """

    def __init__(self, folder: Path, origin: str, key: Ed25519PrivateKey, *, disk: Disk | None = None) -> None:
        self.origin = origin
        self.vkey = vkey(origin, key)
        self._folder = folder
        self._key = key
        self._trusted = parse_vkey(self.vkey)
        self._disk = disk or Disk()
        self._held: tuple[Checkpoint, Tree] | None = None

    # Reading

    def checkpoint(self) -> Checkpoint:
        """The published checkpoint; raises `LedgerError` before the first publication."""
        found = self._read_checkpoint("checkpoint")
        if found is None:
            raise LedgerError(f"log `{self.origin}` has not been published yet")
        return found

    def tile(self, path: str) -> bytes:
        """Content of `tile/...`; raises `LedgerError` for a path that is none, `TileNotFoundError` if absent."""
        return self._read_tile(parse_tile_path(path))

    def proof(self, index: int, extra: bytes = b"") -> bytes:
        """The .tlog-proof of one entry under the published checkpoint; raises `LedgerError` beyond it."""
        checkpoint = self.checkpoint()
        read = tile_hashes(checkpoint.size, self._read_row)
        path = inclusion_proof(index, checkpoint.size, read)
        # A damaged tile must not leave the house as a proof that fails elsewhere.
        check_inclusion(read(0, index), index, checkpoint.size, checkpoint.root, path)
        return encode_proof(LogProof(index, path, checkpoint.note, extra))

    def consistency(self, old_size: int) -> tuple[bytes, ...]:
        """RFC 6962 proof that the published log continues the one of `old_size` entries (for a witness)."""
        size = self.checkpoint().size
        return consistency_proof(old_size, size, tile_hashes(size, self._read_row))

    # Publishing

    def publish(self, entries: Entries) -> Checkpoint:
        """Log every entry the source holds beyond the last checkpoint, and sign the new one.

        1. take the tree of the last signed checkpoint, from tiles, or rebuilt from the source
        2. check that the source still tells the logged end of the log
        3. write bundles and tiles, durably
        4. remember what is about to be said: `state/signed`
        5. publish `checkpoint`
        6. drop partial tiles that have become full
        A crash or an `OSError` anywhere leaves the log verifiable, and the next call does the rest. Raises
        `LedgerError`, before anything is signed, if the source contradicts what was signed.
        """
        with self._locked():
            signed, tree = self._recover(entries)  # 1
            self._check_end(tree, entries)  # 2
            grown = self._write_growth(tree, entries)  # 3
            if signed is None or grown.size > signed.size:
                after = sign_checkpoint(self.origin, grown.size, grown.root(), self._key)
                self._install({"state/signed": after.note})  # 4
            else:
                after = signed
            self._held = (after, grown)
            if self._read("checkpoint") != after.note:
                self._install({"checkpoint": after.note})  # 5
            self._drop_outgrown(tree.size, grown.size)  # 6
            return after

    def repair(self, entries: Entries) -> Checkpoint:
        """Write every file of the last signed log anew from the source, then publish."""
        with self._locked():
            signed = self._last_signed()
            if signed is not None:
                self._held = (signed, self._rebuild(signed, entries))
        return self.publish(entries)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        scratch = self._folder / "state" / "scratch"
        self._disk.sync_all(self._disk.make_folders(scratch))
        with (self._folder / "state" / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise LedgerError(f"another process is publishing log `{self.origin}`") from error
            for stale in scratch.iterdir():
                self._disk.remove(stale)
            yield

    def _recover(self, entries: Entries) -> tuple[Checkpoint | None, Tree]:
        signed = self._last_signed()
        if signed is None:
            return None, Tree()
        if self._held is not None and self._held[0].note == signed.note:
            return self._held
        tree = self._resume(signed) or self._rebuild(signed, entries)
        return signed, tree

    def _last_signed(self) -> Checkpoint | None:
        """INVARIANT: nothing is ever signed that does not continue this checkpoint."""
        private, public = self._read_checkpoint("state/signed"), None
        try:
            public = self._read_checkpoint("checkpoint")
        except LedgerError:
            # A damaged public copy is replaced, but only if we remember what was signed.
            if private is None:
                raise
        if private is None or public is None:
            return private or public
        if private.size == public.size and private.root != public.root:
            raise LedgerError(f"log `{self.origin}` has two signed roots for size {private.size}, find out why")
        return max(private, public, key=lambda checkpoint: checkpoint.size)

    def _resume(self, signed: Checkpoint) -> Tree | None:
        """The tree from the tiles at its right edge, None if they do not add up to the signed root."""
        edge = []
        try:
            for level in range(level_count(signed.size)):
                index = signed.size >> (8 * (level + 1))
                width = (signed.size >> (8 * level)) % TILE_WIDTH
                edge.append(self._read_row(level, index, width) if width else b"")
            tree = Tree(signed.size, tuple(edge))
        except LedgerError:
            return None
        return tree if tree.root() == signed.root else None

    def _rebuild(self, signed: Checkpoint, entries: Entries) -> Tree:
        """Tiles and bundles from the source; nothing is written unless it tells the signed root."""
        tree = Tree()
        for chunk in _chunks(entries, 0, signed.size):
            tree, _ = tree.append(map(leaf_hash, chunk))
        if tree.size != signed.size or tree.root() != signed.root:
            raise LedgerError(
                f"tiles of log `{self.origin}` are damaged and its source holds other entries than the "
                f"{signed.size} that were signed: restore one of them from a backup"
            )
        tree = Tree()
        for chunk in _chunks(entries, 0, signed.size):
            tree, files = growth(tree, chunk, partials=tree.size + len(chunk) == signed.size)
            self._install(files)
        return tree

    def _check_end(self, tree: Tree, entries: Entries) -> None:
        """A source that lost or changed logged entries is noticed before the log grows on top of it."""
        if tree.size == 0:
            return
        index = (tree.size - 1) // TILE_WIDTH
        start = index * TILE_WIDTH
        hashes = b"".join([leaf_hash(entry) for entry in entries(start, tree.size)])
        differs = first_difference(hashes, self._read_row(0, index, tree.size - start))
        if differs is not None:
            raise LedgerError(
                f"source of log `{self.origin}` is missing entry {start + differs} or holds another one "
                f"than was signed: restore the source, the log must not fork"
            )

    def _write_growth(self, tree: Tree, entries: Entries) -> Tree:
        logged = tree.size
        start = logged // TILE_WIDTH * TILE_WIDTH
        for chunk in _chunks(entries, start, None):
            start += len(chunk)
            if start > logged:
                tree, files = growth(tree, chunk, partials=len(chunk) < CHUNK_ENTRIES)
                self._install(files)
        return tree

    def _drop_outgrown(self, old: int, new: int) -> None:
        for level in (None, *range(level_count(old))):
            shift = 8 * ((level or 0) + 1)
            if old >> shift == new >> shift:
                continue
            partial = self._folder / f"{tile_path(level, old >> shift)}.p"
            if partial.is_dir():
                for stale in partial.iterdir():
                    self._disk.remove(stale)
                partial.rmdir()

    # Files

    def _install(self, files: dict[str, bytes]) -> None:
        if files:
            targets = {self._folder / path: data for path, data in files.items()}
            self._disk.install(targets, self._folder / "state" / "scratch")

    def _read(self, path: str) -> bytes | None:
        try:
            return (self._folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _read_checkpoint(self, path: str) -> Checkpoint | None:
        note = self._read(path)
        if note is None:
            return None
        try:
            return open_checkpoint(note, self._trusted)
        except LedgerError as error:
            raise LedgerError(f"`{self._folder / path}` cannot be trusted, restore it: {error}") from error

    def _read_tile(self, ref: TileRef) -> bytes:
        data = self._read(ref.path)
        if data is None:
            raise TileNotFoundError(f"log `{self.origin}` has no `{ref.path}`")
        return data

    def _read_row(self, level: int, index: int, width: int) -> bytes:
        """The first hashes of a tile; a partial one that was dropped is found in the full one."""
        try:
            row = self._read_tile(TileRef(level, index, width))
        except TileNotFoundError:
            row = self._read_tile(TileRef(level, index))[: width * HASH_BYTES]
        if len(row) != width * HASH_BYTES:
            raise LedgerError(f"{TileRef(level, index, width).path} must hold {width} hashes")
        return row


def _chunks(entries: Entries, start: int, stop: int | None) -> Iterator[Sequence[bytes]]:
    """Ranges of the source, each from a bundle's start; the last one is short, or empty."""
    while stop is None or start < stop:
        wanted = start + CHUNK_ENTRIES if stop is None else min(stop, start + CHUNK_ENTRIES)
        chunk = entries(start, wanted)
        if len(chunk) > wanted - start:
            raise LedgerError(f"source gave {len(chunk)} entries for the range {start} to {wanted}")
        yield chunk
        start += len(chunk)
        if start < wanted:
            return
