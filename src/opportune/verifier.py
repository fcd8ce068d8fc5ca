"""Checks a published log from its files alone, sharing no code with whoever wrote it.

Written from the texts: RFC 6962 section 2.1 (hashes, trees, audit paths) and c2sp.org signed-note,
tlog-checkpoint, tlog-tiles and tlog-proof. Imports the standard library and Ed25519 from `cryptography`;
the file may be taken out of this package and run: `python verifier.py FOLDER VKEY [PINNED_CHECKPOINT]`.
"""

import binascii
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_DASH = "\u2014".encode()
_NOTE = re.compile(rb"((?:[^\n]*\n)+)\n((?:" + _DASH + rb" [^\n]+\n){1,64})")
_SIGNATURE = re.compile(_DASH + rb" ([^\s+]+) (\S+)\n")
_BODY = re.compile(rb"([^\s+]+)\n(0|[1-9][0-9]{0,17})\n([A-Za-z0-9+/]{43}=)\n")
_VKEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})")
_PROOF = re.compile(
    rb"c2sp\.org/tlog-proof@v1\n(?:extra [A-Za-z0-9+/=]+\n)?index (0|[1-9][0-9]{0,17})\n"
    rb"((?:[A-Za-z0-9+/]{43}=\n){0,64})\n(.+)",
    re.DOTALL,
)
_FILE = re.compile(r"tile/(entries|\d{1,2})/((?:x\d{3}/)*\d{3})(?:\.p/(\d{1,3}))?", re.ASCII)
_NOTE_BYTES_MAX = 65_536

Hashes = list[bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which file, from which entry on (None: no single entry), and what."""

    file: str
    index: int | None
    what: str

    def __str__(self) -> str:
        place = self.file if self.index is None else f"entry {self.index}, {self.file}"
        return f"{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked and what was found; `findings` begins with the first bad entry.

    `unsigned` names files beyond the checkpoint (a publication may be under way), `strays` files that have
    no place in a log; neither is covered by the signature and neither makes the log bad.
    """

    origin: str
    size: int
    root: str
    findings: tuple[Finding, ...] = ()
    unsigned: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    pinned_size: int | None = None

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def first(self) -> Finding | None:
        return self.findings[0] if self.findings else None


class _RefusalError(Exception):
    """Why a note, a key or a proof is not accepted."""


# Hashes


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _pairs(layer: Hashes) -> Hashes:
    """The layer above: neighbours joined, an odd last hash moves up as it is."""
    above = [_sha256(b"\x01" + left + right) for left, right in zip(layer[::2], layer[1::2], strict=False)]
    return above + layer[-1:] if len(layer) % 2 else above


def _root(rows: Sequence[Hashes]) -> bytes:
    """Root of a tree from the hashes of the last, unfinished tile of each level, lowest level first."""
    above: Hashes = []
    for row in rows:
        above = [*row, *above]
        for _ in range(8):
            above = _pairs(above)
    return above[0] if above else _sha256(b"")


def _path_root(leaf: bytes, index: int, size: int, path: Hashes) -> bytes:
    """The root that an audit path ends in; by the definition of PATH(m, D[n]), read backwards."""
    if size == 1:
        if path:
            raise _RefusalError("the proof has too many hashes")
        return leaf
    if not path:
        raise _RefusalError("the proof has too few hashes")
    split = 1 << (size - 1).bit_length() - 1
    *lower, sibling = path
    if index < split:
        return _sha256(b"\x01" + _path_root(leaf, index, split, lower) + sibling)
    return _sha256(b"\x01" + sibling + _path_root(leaf, index - split, size - split, lower))


# Notes


def _unbase64(text: bytes) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise _RefusalError(f"`{text[:50]!r}` is not base64") from error
    if binascii.b2a_base64(data, newline=False) != text:
        raise _RefusalError("base64 with stray bits, one value must have one spelling")
    return data


def _read_vkey(vkey: str) -> tuple[str, bytes, bytes]:
    match = _VKEY.fullmatch(vkey.strip())
    raw = _unbase64(match[3].encode()) if match else b""
    if match is None or raw[:1] != b"\x01":
        raise _RefusalError("verifier key must read name+id+base64 with an Ed25519 key")
    if _sha256(match[1].encode() + b"\n" + raw)[:4].hex() != match[2]:
        raise _RefusalError("verifier key has an id that is not its own")
    return match[1], bytes.fromhex(match[2]), raw[1:]


def _read_checkpoint(note: bytes, vkey: str) -> tuple[int, bytes]:
    """(size, root) of a checkpoint that the key signed."""
    name, key_id, public = _read_vkey(vkey)
    match = _NOTE.fullmatch(note) if len(note) <= _NOTE_BYTES_MAX else None
    if match is None or any(byte < 32 and byte != 10 for byte in note):
        raise _RefusalError("not a signed note: text, empty line, signature lines")
    signed = False
    for line in match[2].splitlines(keepends=True):
        parts = _SIGNATURE.fullmatch(line)
        if parts is None:
            raise _RefusalError("a signature line is malformed")
        signature = _unbase64(parts[2])
        if parts[1] != name.encode() or signature[:4] != key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], match[1])
        except InvalidSignature as error:
            raise _RefusalError(f"the signature of `{name}` does not fit the text above it") from error
        signed = True
    if not signed:
        raise _RefusalError(f"no signature by `{name}` with key id {key_id.hex()}")
    body = _BODY.fullmatch(match[1])
    if body is None:
        raise _RefusalError("body must be three lines: origin, size, root")
    if body[1] != name.encode():
        raise _RefusalError(f"speaks of another log than `{name}`")
    return int(body[2]), _unbase64(body[3])


# The log


def _name(level: int | None, number: int, width: int = 256) -> str:
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"tile/{'entries' if level is None else level}/{path}" + (f".p/{width}" if width < 256 else "")


class _Log:
    """The files of one log, read at the size of its checkpoint."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self.levels = (size.bit_length() + 7) // 8

    def width(self, level: int | None, number: int) -> int:
        return max(0, min(256, (self.size >> 8 * (level or 0)) - 256 * number))

    def load(self, level: int | None, number: int) -> tuple[str, bytes | None, bool]:
        """(name, content or None, whether it is the full file in place of a partial one)."""
        width = self.width(level, number)
        for name in dict.fromkeys((_name(level, number, width), _name(level, number))):
            try:
                data = (self.folder / name).read_bytes()
            except OSError:
                continue
            return name, data, width < 256 and name == _name(level, number)
        return _name(level, number, width), None, False

    def row(self, level: int, number: int) -> tuple[str, Hashes | None, str]:
        """(name, stored hashes or None, why None)."""
        name, data, longer = self.load(level, number)
        if data is None:
            return name, None, "the file is missing"
        want = 32 * self.width(level, number)
        if longer:
            data = data[:want]
        if len(data) != want:
            return name, None, f"the file has {len(data)} bytes where {want} belong"
        return name, [data[at : at + 32] for at in range(0, want, 32)], ""

    def leaves(self, number: int) -> tuple[str, Hashes, str]:
        """(name, leaf hashes of the entries as far as they can be read, what is wrong with the file)."""
        name, data, longer = self.load(None, number)
        if data is None:
            return name, [], "the file is missing"
        hashes: Hashes = []
        at, want = 0, self.width(None, number)
        while len(hashes) < want:
            if at == len(data):
                return name, hashes, f"the file ends after {len(hashes)} of {want} entries"
            stop = at + 2 + (data[at] << 8) + (data[at + 1] if at + 1 < len(data) else 0)
            if stop > len(data) or at + 1 == len(data):
                return name, hashes, "the file ends inside this entry"
            hashes.append(_sha256(b"\x00" + data[at + 2 : stop]))
            at = stop
        if at < len(data) and not longer:
            return name, hashes, f"{len(data) - at} bytes follow the last entry"
        return name, hashes, ""


class _Audit:
    """One pass from the entries up to the root, then, if something differs, down to where it differs.

    `rows[L]` are the hashes of tile level L as computed from the entries (level 0 only its unfinished
    tile), `kept[L]` those stored in the tiles, None where a tile cannot be read; `doubtful` are the bundles
    whose file is not in order or disagrees with its leaf tile.
    """

    def __init__(self, log: _Log, root: bytes) -> None:
        self.log = log
        self.root = root
        self.findings: list[Finding] = []
        self.doubtful: set[int] = set()
        self.rows: list[Hashes] = [[] for _ in range(log.levels)]
        self.true_rows: list[Hashes] = self.rows

    def run(self) -> None:
        self._read_entries()
        for level in range(1, self.log.levels - 1):
            row = self.rows[level]
            self.rows[level + 1] = [_root([row[at : at + 256]]) for at in range(0, len(row) - 255, 256)]
        edges = self._true_edges()
        if edges is None:
            self._say_unfounded()
        elif edges:
            self._descend(edges)

    def _read_entries(self) -> None:
        for number in range(-(-self.log.size // 256)):
            _, leaves, trouble = self.log.leaves(number)
            _, stored, _ = self.log.row(0, number)
            if trouble or leaves != stored:
                self.doubtful.add(number)
            want = self.log.width(0, number)
            # Where entries are missing, go on with the stored hashes so that the rest can be judged.
            row = leaves if len(leaves) == want else stored or [bytes(32)] * want
            if want < 256:
                self.rows[0] = row
            else:
                self.rows[1].append(_root([row]))

    def _true_edges(self) -> list[Hashes] | None:
        """Per level the unfinished row that the signed root vouches for: computed or stored."""
        choices: list[list[Hashes]] = []
        for level in range(self.log.levels):
            row = self.rows[level]
            computed = row[len(row) // 256 * 256 :]
            number = self.log.size >> 8 * (level + 1)
            stored = self.log.row(level, number)[1] if computed else None
            choices.append([computed] if stored in (None, computed) else [computed, stored or []])
        return next((list(rows) for rows in product(*choices) if _root(rows) == self.root), None)

    def _say_unfounded(self) -> None:
        """No reading of the files leads to the signed root: name where they contradict each other."""
        for number in sorted(self.doubtful):
            self._judge_bundle(number, None)
        for level in range(1, self.log.levels):
            self._judge_tiles(level, self.rows[level])
        what = "entries and tiles do not add up to the signed root: the log was rewritten, or its last entries"
        self.findings.append(Finding("checkpoint", None, what))

    def _descend(self, edges: list[Hashes]) -> None:
        """From the signed root down, decide per tile whether the entries or the stored hashes are true."""
        true_rows = [list(row) for row in self.rows]
        true_rows[0] = edges[0]
        for level in reversed(range(1, self.log.levels)):
            full = len(self.rows[level]) // 256
            true: Hashes = []
            for number in range(full):
                computed = self.rows[level][256 * number : 256 * number + 256]
                expected = true_rows[level + 1][number]
                stored = self.log.row(level, number)[1] if _root([computed]) != expected else None
                true += stored if stored and _root([stored]) == expected else computed
            true_rows[level] = true + edges[level]
            self._judge_tiles(level, true_rows[level])
        self.true_rows = true_rows
        for number in range(-(-self.log.size // 256)):
            if self.log.width(0, number) < 256:
                if number in self.doubtful or edges[0] != self.rows[0]:
                    self._judge_bundle(number, edges[0])
            elif number in self.doubtful or self.rows[1][number] != true_rows[1][number]:
                self._judge_bundle(number, self._true_leaves(number, true_rows[1][number]))

    def _true_leaves(self, number: int, expected: bytes) -> Hashes | None:
        for row in (self.log.leaves(number)[1], self.log.row(0, number)[1]):
            if row and len(row) == 256 and _root([row]) == expected:
                return row
        return None

    def _judge_tiles(self, level: int, true: Hashes) -> None:
        for number in range(-(-len(true) // 256)):
            name, stored, why = self.log.row(level, number)
            row = true[256 * number : 256 * number + 256]
            if stored != row:
                at = _first_difference(row, stored) if stored else 0
                index = (256 * number + at) << 8 * level
                what = why or f"hash {at} is not that of the entries from {index} on"
                self.findings.append(Finding(name, index, what))

    def _judge_bundle(self, number: int, true: Hashes | None) -> None:
        """Findings for one bundle and its leaf tile; `true` are the leaf hashes the root vouches for."""
        name, leaves, trouble = self.log.leaves(number)
        tile, stored, why = self.log.row(0, number)
        start = 256 * number
        known = true or stored
        if known is None:
            self.findings.append(Finding(tile, start, why))
        at = _first_difference(known, leaves) if known else len(leaves)
        if known and at < len(leaves):
            self.findings.append(Finding(name, start + at, "the entry is not the one that was logged"))
        elif trouble:
            last = max(0, min(len(leaves), self.log.width(0, number) - 1))
            self.findings.append(Finding(name, start + last, trouble))
        elif true is None:
            stop = start + len(leaves) - 1
            what = f"the entries up to {stop} and their leaf hashes agree, but not with the tree above"
            self.findings.append(Finding(name, start, what))
        if true and stored != true:
            at = _first_difference(true, stored) if stored else 0
            self.findings.append(Finding(tile, start + at, why or f"leaf hash {at} is not that of the entry"))


def _first_difference(true: Hashes, other: Hashes) -> int:
    """Position of the first hash in which they differ; the shorter length if one begins the other."""
    for at, (left, right) in enumerate(zip(true, other, strict=False)):
        if left != right:
            return at
    return min(len(true), len(other))


def _old_root(log: _Log, rows: list[Hashes], size: int) -> bytes:
    """Root the first `size` entries of this log have."""
    edges = []
    for level in range((size.bit_length() + 7) // 8):
        start, stop = size >> 8 * (level + 1) << 8, size >> 8 * level
        edges.append(rows[level][start:stop] if level else log.leaves(start // 256)[1][: stop - start])
    return _root(edges)


def _check_pinned(log: _Log, rows: list[Hashes], old: tuple[int, bytes]) -> Finding | None:
    size, old_root = old
    if size > log.size:
        what = f"rollback: the log has {log.size} entries, the pinned checkpoint already had {size}"
        return Finding("checkpoint", None, what)
    if _old_root(log, rows, size) != old_root:
        what = f"fork: the first {size} entries are not those of the pinned checkpoint"
        return Finding("checkpoint", None, what)
    return None


def _other_files(log: _Log) -> Iterator[tuple[str, str, str]]:
    """(kind, name, what) of files that the audit has not read: unsigned, stray, or bad."""
    for path in sorted((log.folder / "tile").rglob("*")):
        if path.is_dir():
            continue
        name = path.relative_to(log.folder).as_posix()
        match = _FILE.fullmatch(name)
        level = None if not match or match[1] == "entries" else int(match[1])
        number = int(re.sub("[x/]", "", match[2])) if match else 0
        width = int(match[3] or 256) if match else 0
        if not match or name != _name(level, number, width):
            yield "stray", name, ""
            continue
        have = log.width(level, number)
        if width > have:
            yield "unsigned", name, ""
        elif width < have:
            what = _outgrown_trouble(log, level, number, width, path.read_bytes())
            if what:
                yield "bad", name, what


def _outgrown_trouble(log: _Log, level: int | None, number: int, width: int, data: bytes) -> str:
    """A partial file of an older checkpoint must begin the one that replaced it."""
    _, now, _ = log.load(level, number)
    if now is not None and not now.startswith(data):
        return "an older partial file that differs from the one that replaced it"
    count, at = 0, 0
    if level is None:
        while at + 2 <= len(data):
            at += 2 + int.from_bytes(data[at : at + 2], "big")
            count += 1
    if (count if level is None else len(data) / 32) != width or (level is None and at != len(data)):
        return f"an older partial file that does not hold {width}"
    return ""


def verify_log(folder: Path | str, vkey: str, *, pinned: bytes | None = None) -> Report:
    """Read a whole log and say whether it is what its checkpoint says, and continues the `pinned` one.

    `folder` holds `checkpoint` and `tile/`; `vkey` is the verifier key, obtained from somewhere else;
    `pinned` is a checkpoint kept from an earlier time: without it a rollback or a fork by the owner of the
    key cannot be seen. Never raises for a bad log: `Report.first` names the first bad entry.
    """
    folder = Path(folder)
    origin = vkey.split("+")[0]
    try:
        size, root = _read_checkpoint((folder / "checkpoint").read_bytes(), vkey)
    except (OSError, _RefusalError) as error:
        what = "the file is missing" if isinstance(error, OSError) else str(error)
        return Report(origin, 0, "", (Finding("checkpoint", None, what),))
    log = _Log(folder, size)
    audit = _Audit(log, root)
    audit.run()
    findings = audit.findings
    old: tuple[int, bytes] | None = None
    if pinned is not None:
        try:
            old = _read_checkpoint(pinned, vkey)
        except _RefusalError as error:
            findings.append(Finding("pinned checkpoint", None, str(error)))
        else:
            contradiction = _check_pinned(log, audit.true_rows, old)
            findings += [contradiction] if contradiction else []
    others: dict[str, list[str]] = {"unsigned": [], "stray": []}
    for kind, name, what in _other_files(log):
        if kind == "bad":
            findings.append(Finding(name, None, what))
        else:
            others[kind].append(name)
    findings.sort(key=lambda found: (found.index is None, found.index or 0, "entries" not in found.file))
    extra = tuple(others["unsigned"]), tuple(others["stray"])
    return Report(origin, size, root.hex(), tuple(findings), *extra, old[0] if old else None)


def verify_proof(proof: bytes, entry: bytes, vkey: str) -> Report:
    """Whether a .tlog-proof shows `entry` (its exact bytes) to be in the log of `vkey`. Never raises."""
    origin = vkey.split("+")[0]
    try:
        match = _PROOF.fullmatch(proof)
        if match is None:
            raise _RefusalError("not a c2sp.org/tlog-proof@v1 file")
        size, root = _read_checkpoint(match[3], vkey)
        index = int(match[1])
        if index >= size:
            raise _RefusalError(f"entry {index} is beyond the {size} of the checkpoint")
        path = [_unbase64(line) for line in match[2].split()]
        if _path_root(_sha256(b"\x00" + entry), index, size, path) != root:
            raise _RefusalError(f"this is not entry {index} of the log")
    except _RefusalError as error:
        return Report(origin, 0, "", (Finding("proof", None, str(error)),))
    return Report(origin, size, root.hex())


def verify_commit(entry: bytes, salt: bytes, private: bytes) -> bool:
    """Whether the entry's `commit` was made from these private bytes and this 32-byte salt."""
    digest = hashlib.sha256(b"opportune/audit/v1" + salt + private).hexdigest()
    stated = re.findall(rb'[{,]"commit":"([0-9a-f]{64})"[,}]', entry)
    return len(salt) == 32 and stated == [digest.encode()]


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: the log is good; 1: it is not; 2: wrong use."""
    if len(arguments) not in (2, 3):
        sys.stderr.write("usage: verifier.py FOLDER VKEY [PINNED_CHECKPOINT]\n")
        return 2
    pinned = Path(arguments[2]).read_bytes() if len(arguments) == 3 else None
    report = verify_log(arguments[0], arguments[1], pinned=pinned)
    verdict = f"{'good' if report.ok else 'BAD'}: {report.origin}, {report.size} entries, root {report.root}"
    sys.stdout.write("\n".join([*map(str, report.findings), verdict, ""]))
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
