"""Base backups: runs of their own below `base/`, each with what the way back needs to know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic import ValidationError as PydanticError

from neo_polystore.backup import runs
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Digest, Manifest
from neo_polystore.backup.runs import Run
from neo_polystore.backup.targets import Target
from neo_polystore.errors import BackupError, IntegrityError, PolystoreError
from neo_polystore.pitr.names import SEGMENT_BYTES, Segment, lsn
from neo_polystore.records.base import problems_of

STORE = "cluster"
TAR, MANIFEST = "tar", "manifest"
"""The streams: pg_basebackup's tar, and of its files the backup_manifest once more."""

FOLDER = "base"

Kind = Literal["full", "incremental"]


class Positions(BaseModel):
    """What the manifest's `positions` say of a base backup. Positions in WAL are numbers.

    WAL from `begin` to `end` makes it consistent, which it is from `consistent_at` on (the
    server's clock). An incremental one needs `parent`, whose manifest has the digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    system: str = Field(pattern=r"^\d{1,20}$")
    postgres: int = Field(ge=15)
    timeline: int = Field(ge=1)
    begin: int = Field(ge=0)
    end: int = Field(ge=0)
    segment_bytes: int = Field(ge=1 << 20, le=1 << 30)
    consistent_at: AwareDatetime
    files: int = Field(ge=0)
    parent: str | None = None
    parent_sha256: Digest | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """A complete base backup whose manifest is as it was written."""

    manifest: Manifest
    positions: Positions

    @property
    def id(self) -> str:
        """The run's id."""
        return self.manifest.id

    @property
    def stored_bytes(self) -> int:
        """What it takes in the target."""
        return self.manifest.store(STORE).stored_bytes

    @property
    def content_bytes(self) -> int:
        """What it takes unpacked."""
        return sum(stream.content_bytes for stream in self.manifest.store(STORE).streams)

    @property
    def first(self) -> Segment:
        """The first segment that it needs."""
        where = self.positions
        return Segment(where.timeline, where.begin // where.segment_bytes)

    @property
    def last(self) -> Segment:
        """The last segment without which it is not consistent."""
        where = self.positions
        return Segment(where.timeline, (where.end - 1) // where.segment_bytes)

    def as_dict(self) -> dict[str, object]:
        """For people and programs."""
        where = self.positions
        return {
            "base": self.id,
            "kind": where.kind,
            "parent": where.parent,
            "system": where.system,
            "postgres": where.postgres,
            "timeline": where.timeline,
            "begin": lsn(where.begin),
            "end": lsn(where.end),
            "consistent_at": where.consistent_at,
            "files": where.files,
            "bytes": self.content_bytes,
            "stored_bytes": self.stored_bytes,
            "encrypted": self.manifest.key_id is not None,
        }


@dataclass(frozen=True, slots=True)
class Shelf:
    """What lies below `base/`, newest first: whole ones by id, and all runs with their problems."""

    bases: Mapping[str, Base]
    runs: tuple[Run, ...]

    def problem(self, run: str) -> str:
        """Why a run is no base backup that can be used."""
        for found in self.runs:
            if found.id == run:
                return found.problem or "it was never completed"
        return "it is not there"

    def chain(self, run: str) -> list[Base]:
        """A base backup with those that it builds on, the full one first.

        Raises BackupError where one is missing, IntegrityError where one is another than it was.
        """
        found: list[Base] = []
        wanted: str | None = run
        while wanted is not None:
            base = self.bases.get(wanted)
            if base is None:
                of = f"base backup {run} builds on {wanted}, which" if found else f"{wanted}"
                raise BackupError(f"{of} cannot be used: {self.problem(wanted)}")
            if found and found[-1].positions.parent_sha256 != runs.digest_of(base.manifest):
                raise IntegrityError(f"{base.id} is another than {found[-1].id} was made upon")
            found.append(base)
            wanted = base.positions.parent
        return found[::-1]


def shelf_of(target: Target, key: BackupKey | None) -> Shelf:
    """Read all manifests. Blocks."""
    below = target.below(FOLDER)
    found: list[Run] = []
    bases: dict[str, Base] = {}
    for run in runs.list_runs(below, key=key):
        if run.complete and run.problem is None:
            try:
                bases[run.id] = base_of(runs.load(below, run.id, key=key))
            except PolystoreError as error:
                run = Run(run.id, run.size, complete=True, problem=error.message)
        found.append(run)
    return Shelf(bases, tuple(found))


def base_of(manifest: Manifest) -> Base:
    """A manifest as that of a base backup; IntegrityError where it is none."""
    store = manifest.store(STORE)
    if [stream.name for stream in store.streams] != [TAR, MANIFEST]:
        raise IntegrityError(f"{manifest.id} has other streams than a base backup")
    try:
        return Base(manifest, Positions.model_validate(store.positions))
    except PydanticError as error:
        reasons = "; ".join(f"{p.field}: {p.reason}" for p in problems_of(error)[:3])
        raise IntegrityError(f"{manifest.id}: {reasons}") from None


def newest(bases: Iterable[Base], before: datetime | None = None) -> Base | None:
    """The one that became consistent last, but by `before`."""
    fitting = (b for b in bases if before is None or b.positions.consistent_at <= before)
    return max(fitting, key=lambda base: (base.positions.consistent_at, base.id), default=None)


__all__ = ["SEGMENT_BYTES", "Base", "Positions", "Shelf", "base_of", "newest", "shelf_of"]
