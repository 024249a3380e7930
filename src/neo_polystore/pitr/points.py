"""Restore points: named marks in WAL, with a note of each in the target: `points/<name>.json`."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic import ValidationError as PydanticError

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.targets import Target
from neo_polystore.errors import (
    BackupError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pitr.archive import WalArchive
from neo_polystore.pitr.names import Segment, position
from neo_polystore.pitr.server import PATIENCE, archived, cluster_of, connected, switched

FOLDER = "points/"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_LARGEST = 1 << 16


class Point(BaseModel):
    """Where a restore point lies. `position` is behind its record, `made` the server's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    system: str = Field(pattern=r"^\d{1,20}$")
    timeline: int = Field(ge=1)
    position: int = Field(ge=0)
    made: AwareDatetime


def check_name(name: str) -> str:
    """The name; UsageError for one that a point cannot have."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a restore point: up to 63 letters, digits, `_`, `.` and `-`"
        )
    return name


async def make_point(
    admin: PgConfig,
    target: Target,
    name: str,
    *,
    key: BackupKey | None = None,
    patience: float = PATIENCE,
) -> Point:
    """Mark this moment, and wait until the WAL with the mark is archived.

    ConflictError where the name is taken: recovery stops at the first mark of a name.
    """
    stored = f"{FOLDER}{check_name(name)}.json"
    await asyncio.to_thread(target.check, writing=True)
    if load_point(target, name) is not None:
        raise ConflictError(f"there is a restore point {name!r} already: choose another name")
    async with connected(admin) as connection:
        cluster = await cluster_of(connection)
        row = await connection.fetchrow(
            "SELECT pg_create_restore_point($1)::text AS lsn, clock_timestamp() AS made,"
            " ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
            " AS timeline",
            name,
        )
        made: datetime = row["made"]
        where = position(row["lsn"])
        await switched(connection)
        segment = Segment(row["timeline"], (where - 1) // cluster.segment_bytes)
        archive = WalArchive(target, key, cluster.system)
        await archived(connection, archive, segment, cluster.segment_bytes, patience=patience)
    point = Point(
        name=name, system=cluster.system, timeline=row["timeline"], position=where, made=made
    )
    text = point.model_dump_json(indent=2).encode() + b"\n"
    if not await asyncio.to_thread(target.put_new, stored, text):
        raise ConflictError(f"another process has made a restore point {name!r} meanwhile")
    return point


def load_point(target: Target, name: str) -> Point | None:
    """The note of a point; None where there is none. Blocks."""
    try:
        data = target.get(f"{FOLDER}{check_name(name)}.json", most=_LARGEST)
    except NotFoundError:
        return None
    try:
        return Point.model_validate_json(data)
    except PydanticError:
        raise IntegrityError(f"the note of the restore point {name!r} is none") from None


def list_points(target: Target) -> list[Point]:
    """All notes, the newest first; one that cannot be read is an error. Blocks."""
    names = [item.name.removeprefix(FOLDER) for item in target.list(FOLDER)]
    found = [load_point(target, name.removesuffix(".json")) for name in names]
    points = [point for point in found if point is not None]
    return sorted(points, key=lambda point: point.made, reverse=True)


def known_point(target: Target, name: str) -> Point:
    """The note of a point; BackupError where there is none."""
    point = load_point(target, name)
    if point is None:
        raise BackupError(
            f"no restore point {name!r} is noted in {target.place}; name the base backup to begin"
            " with (--base) for one that was made by pg_create_restore_point alone"
        )
    return point
