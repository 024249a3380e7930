"""The runs that a target has: found by their folders, complete with their manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from neo_polystore.backup import manifest as files
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Manifest
from neo_polystore.backup.targets import Target
from neo_polystore.errors import BackupError, NotFoundError, PolystoreError

PROOF = "proof.json"
_PATH = re.compile(r"(?P<day>\d{8})/(?P<run>\d{8}T\d{6}-[0-9a-f]{8})/(?P<rest>.+)")
_CENTURY = "2"
"""What every run's folder begins with; WAL and base backups lie beside, and are many."""

_LARGEST_PROOF = 16 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """One run. It is no backup unless it is `complete`. `size` is what it takes in bytes.

    `problem` says why its manifest or proof cannot be read. `proven` are the stores that were
    restored from it and compared; `failed` those that did not compare. `scope` says what was asked
    for; nothing, for everything.
    """

    id: str
    size: int
    complete: bool
    encrypted: bool = False
    stores: tuple[str, ...] = ()
    rows: int = 0
    proven: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    proven_at: datetime | None = None
    problem: str | None = None
    scope: str = ""

    @property
    def started(self) -> datetime:
        """When it was started, by its id (UTC)."""
        return datetime.strptime(self.id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def list_runs(target: Target, *, key: BackupKey | None = None) -> list[Run]:
    """Every run, newest first; a manifest that cannot be read is a problem of its run. Blocks."""
    return list(_each_run(target, key))


def _each_run(target: Target, key: BackupKey | None) -> Iterator[Run]:
    sizes: dict[str, int] = {}
    names: dict[str, set[str]] = {}
    for item in target.list(_CENTURY):
        match = _PATH.fullmatch(item.name)
        if match is not None and match["run"].startswith(match["day"]):
            sizes[match["run"]] = sizes.get(match["run"], 0) + item.size
            names.setdefault(match["run"], set()).add(match["rest"])
    for run in sorted(sizes, reverse=True):
        yield _describe(target, run, sizes[run], names[run], key)


def _describe(target: Target, run: str, size: int, names: set[str], key: BackupKey | None) -> Run:
    if files.NAME not in names:
        return Run(run, size, complete=False)
    try:
        manifest = load(target, run, key=key)
        proof = load_proof(target, manifest) if PROOF in names else None
    except PolystoreError as error:
        return Run(run, size, complete=True, problem=error.message)
    stores = proof["stores"] if proof else {}
    return Run(
        run,
        size,
        complete=True,
        encrypted=manifest.key_id is not None,
        stores=tuple(store.name for store in manifest.stores if store.streams),
        rows=sum(store.rows for store in manifest.stores),
        proven=tuple(sorted(name for name, found in stores.items() if found["ok"])),
        failed=tuple(sorted(name for name, found in stores.items() if not found["ok"])),
        proven_at=datetime.fromisoformat(proof["finished"]) if proof else None,
        scope=" ".join(f"{name}={asked}" for name, asked in manifest.scope.items() if asked),
    )


@dataclass(frozen=True, slots=True)
class Newest:
    """Of one store: when its newest run was started, and its newest proven one."""

    complete: datetime
    proven: datetime | None


def newest_by_store(target: Target, *, key: BackupKey | None = None) -> dict[str, Newest]:
    """How old the newest backup and the newest proof of each store are.

    Runs of one schema do not count: they bring no store back. Reads manifests from the newest
    run on, and none that is older than a proof of every store. Blocks.
    """
    found: dict[str, Newest] = {}
    for run in _each_run(target, key):
        if not run.complete or run.problem is not None or "schema=" in run.scope:
            continue
        for store in run.stores:
            known = found.get(store, Newest(run.started, None))
            proven = known.proven or (run.started if store in run.proven else None)
            found[store] = Newest(known.complete, proven)
        if found and all(each.proven for each in found.values()):
            break
    return found


def load(target: Target, run: str, *, key: BackupKey | None) -> Manifest:
    """The manifest of a complete run; BackupError where it has none, else as `manifest.load`."""
    name = files.folder_of(run) + files.NAME
    try:
        data = target.get(name, most=files.LARGEST)
    except NotFoundError:
        raise BackupError(
            f"run {run} has no manifest: it is unknown, or was not completed"
        ) from None
    return files.load(data, run=run, key=key)


def newest(target: Target) -> str:
    """The newest complete run; BackupError where there is none."""
    complete = [
        match["run"]
        for item in target.list(_CENTURY)
        if (match := _PATH.fullmatch(item.name)) and match["rest"] == files.NAME
    ]
    if not complete:
        raise BackupError(f"{target.place} has no complete run")
    return max(complete)


def digest_of(manifest: Manifest) -> str:
    """What a proof says about which manifest it proves."""
    envelope = orjson.loads(files.dump(manifest, None))
    return str(envelope["sha256"])


def load_proof(target: Target, manifest: Manifest) -> dict[str, Any] | None:
    """The proof of a run; None where it is that of another manifest."""
    data = target.get(manifest.folder + PROOF, most=_LARGEST_PROOF)
    try:
        proof = orjson.loads(data)
        if proof["manifest_sha256"] != digest_of(manifest):
            return None
        datetime.fromisoformat(proof["finished"])
        _ = {name: bool(found["ok"]) for name, found in proof["stores"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupError(f"the proof of {manifest.id} is not laid out as one") from None
    found: dict[str, Any] = proof
    return found
