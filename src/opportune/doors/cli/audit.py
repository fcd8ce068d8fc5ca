"""Commands about the ledger: `audit verify`, `audit prove`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from opportune.doors.cli.options import HERE, AsJson, InRegion, Playbook, bench
from opportune.doors.cli.output import FOUND_SOMETHING, Refusal, emit, plural

T = TypeVar("T")

PATIENCE_TRIES = 20
PATIENCE_S = 0.15


def verify(
    ctx: typer.Context,
    folder: Annotated[Path | None, typer.Option("--folder", help="A published log; the playbook's own.")] = None,
    vkey: Annotated[str | None, typer.Option("--vkey", help="The key that checks it, or a file of it.")] = None,
    pinned: Annotated[Path | None, typer.Option("--pinned", help="A checkpoint kept from earlier.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Check a published ledger with code that shares nothing with its writer; offline."""
    from opportune.verifier import verify_log

    if (folder is None) != (vkey is None):
        raise Refusal("`--folder` and `--vkey` go together: the key must come from somewhere else than the log")
    recorded: int | None = None
    if folder is None or vkey is None:
        workbench = bench(ctx)
        place = workbench.place(playbook, in_region)
        with workbench.reading(place) as region:
            folder, vkey, recorded = place.ledger, region.ledger.vkey, region.records.leaf_count()
            if not (folder / "checkpoint").exists():
                _patiently(region.ledger.publish)
    elif Path(vkey).is_file():
        vkey = Path(vkey).read_text(encoding="utf-8").strip()
    if not folder.is_dir():
        raise Refusal(f"there is no folder `{folder}`: name the one with `checkpoint` and `tile/`")
    report = verify_log(folder, vkey, pinned=_bytes_of(pinned))
    data = {
        "ok": report.ok, "origin": report.origin, "size": report.size, "root": report.root, "recorded": recorded,
        "pinned_size": report.pinned_size, "vkey": vkey, "folder": str(folder),
        "findings": [{"file": one.file, "index": one.index, "what": one.what} for one in report.findings],
    }  # fmt: skip
    lines = [str(finding) for finding in report.findings]
    verdict = "good" if report.ok else "BAD"
    lines.append(f"{verdict}: {report.origin}, {plural(report.size, 'entry', 'entries')}, root {report.root}")
    if recorded is not None and recorded > report.size:
        lines.append(f"{recorded - report.size} more are recorded and not yet published")
    emit(as_json, data, "\n".join(lines))
    if not report.ok:
        raise typer.Exit(FOUND_SOMETHING)


def prove(
    ctx: typer.Context,
    decision: Annotated[str, typer.Argument(metavar="ID", help="The decision's id.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files; this one.")] = None,
    playbook: Playbook = HERE,
    in_region: InRegion = None,
    as_json: AsJson = False,
) -> None:
    """Write the proof that a decision is in the ledger, and how to check it offline."""
    workbench = bench(ctx)
    with workbench.reading(workbench.place(playbook, in_region)) as region:
        stored = region.records.decision(decision)
        if stored is None:
            raise Refusal(f"no decision has the id `{decision}`: `opportune decide` prints ids")
        proof: bytes = _patiently(lambda: region.ledger.proof(stored.leaf))
        entry, vkey = region.records.leaves(stored.leaf, stored.leaf + 1)[0], region.ledger.vkey
    target = out or HERE
    target.mkdir(parents=True, exist_ok=True)
    paths = {
        "proof": target / f"{decision}.tlog-proof", "entry": target / f"{decision}.entry",
        "record": target / f"{decision}.record", "salt": target / f"{decision}.salt",
    }  # fmt: skip
    contents = {"proof": proof, "entry": entry, "record": stored.record, "salt": stored.salt}
    for name, path in paths.items():
        path.write_bytes(contents[name])
    offline = _offline(paths, vkey)
    data = {"decision": decision, "index": stored.leaf, "vkey": vkey, "offline": offline}
    data |= {name: str(path) for name, path in paths.items()}
    text = f"wrote {', '.join(str(path) for path in paths.values())}: entry {stored.leaf} of the ledger\n"
    text += "the record (MessagePack) and its salt are personal: hand them only to whoever may see them\n"
    text += f"check offline:\n{offline}"
    emit(as_json, data, text)


def _offline(paths: dict[str, Path], vkey: str) -> str:
    """A command that needs the verifier's one file, the four files and the key, and no network."""
    read = {name: f"pathlib.Path({str(path)!r}).read_bytes()" for name, path in paths.items()}
    code = (
        "import pathlib; from opportune.verifier import verify_commit, verify_proof; "
        f"e = {read['entry']}; r = verify_proof({read['proof']}, e, {vkey!r}); "
        f"print('in the log:', r.ok, r.first or ''); "
        f"print('this record:', verify_commit(e, {read['salt']}, {read['record']}))"
    )
    return f'python -c "{code}"'


def _patiently(work: Callable[[], T]) -> T:
    """A running server publishes every second: when it is just doing so, wait for it."""
    from opportune.core.ledger import LedgerError

    for _ in range(PATIENCE_TRIES):
        try:
            return work()
        except LedgerError:
            time.sleep(PATIENCE_S)
    return work()


def _bytes_of(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refusal(f"`--pinned {path}` cannot be read: {error.strerror}") from None

