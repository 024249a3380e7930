"""How to get back to a moment: which base backup, which WAL; refused before anything is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.targets import Target
from neo_polystore.errors import BackupError, IntegrityError, UsageError
from neo_polystore.pitr.archive import WalArchive
from neo_polystore.pitr.bases import FOLDER, Base, Shelf, newest, shelf_of
from neo_polystore.pitr.check import Contents, check, contents_of, on_way
from neo_polystore.pitr.names import Stretch, lsn
from neo_polystore.pitr.points import Point, check_name, known_point


@dataclass(frozen=True, slots=True)
class Goal:
    """Where to go: a time (aware), a restore point, or as far as there is WAL.

    `timeline` is one of the archive's, by default its newest; `base` the base backup to begin
    with; `despite_holes` goes as far as a hole allows.
    """

    time: datetime | None = None
    point: str | None = None
    timeline: int | None = None
    base: str | None = None
    despite_holes: bool = False

    def __post_init__(self) -> None:
        if self.time is not None and self.point is not None:
            raise UsageError("a time or a restore point, not both")
        if self.time is not None and self.time.tzinfo is None:
            raise UsageError("the time needs its zone, such as 2026-01-31T12:00:00Z")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore would do: unpack the chain, and replay WAL of the timelines in order."""

    goal: Goal
    chain: tuple[Base, ...]
    way: tuple[Stretch, ...]
    point: Point | None
    segments: int

    @property
    def base(self) -> Base:
        """The base backup that recovery begins with, the last of the chain."""
        return self.chain[-1]

    @property
    def content_bytes(self) -> int:
        """How much the chain takes unpacked."""
        return sum(base.content_bytes for base in self.chain)

    @property
    def target(self) -> dict[str, str]:
        """Settings of PostgreSQL's recovery."""
        found = {"recovery_target_timeline": str(self.way[-1].timeline)}
        if self.goal.time is not None:
            found["recovery_target_time"] = self.goal.time.isoformat()
        if self.goal.point is not None:
            found["recovery_target_name"] = self.goal.point
        return found

    def as_dict(self) -> dict[str, object]:
        """For people and programs."""
        return {
            "to": self.goal.point or self.goal.time or "latest",
            "system": self.base.positions.system,
            "chain": [base.as_dict() for base in self.chain],
            "timelines": [stretch.timeline for stretch in self.way],
            "begin": lsn(self.base.positions.begin),
            "segments": self.segments,
            "bytes": self.content_bytes,
        }


async def make_plan(target: Target, key: BackupKey | None, goal: Goal) -> Plan:
    """Choose the newest base backup that lies before the goal, and see that all is there.

    Raises BackupError where there is no way, and IntegrityError where a link of the chain, a part
    or a segment is missing or is not what it was.
    """
    await asyncio.to_thread(target.check, writing=False)
    shelf = await asyncio.to_thread(shelf_of, target, key)
    point = await asyncio.to_thread(_point, target, goal)
    system = _system(shelf, goal, point)
    ours = [base for base in shelf.bases.values() if base.positions.system == system]
    archive = WalArchive(target, key, system)
    size = ours[0].positions.segment_bytes
    contents = await asyncio.to_thread(contents_of, archive, size)
    way = contents.way(_timeline(contents, goal, ours))
    base = _base(shelf, ours, way, goal, point)
    chain = shelf.chain(base.id)
    for each in chain:
        await _complete(target, key, each)
    _continuous(contents, way, base, goal)
    segments = sum(s.number >= base.first.number for s in contents.segments)
    return Plan(goal, tuple(chain), tuple(way), point, segments)


def _point(target: Target, goal: Goal) -> Point | None:
    if goal.point is None:
        return None
    check_name(goal.point)
    return known_point(target, goal.point) if goal.base is None else None


def _system(shelf: Shelf, goal: Goal, point: Point | None) -> str:
    """Of which cluster: that of the named base or point, else that of the newest base backup."""
    if goal.base is not None:
        return shelf.chain(goal.base)[-1].positions.system
    found = newest(shelf.bases.values())
    if found is None:
        problems = "; ".join(f"{run.id}: {shelf.problem(run.id)}" for run in shelf.runs[:3])
        raise BackupError(
            "there is no base backup" + (f" that can be used: {problems}" * bool(problems))
        )
    system = point.system if point is not None else found.positions.system
    if all(base.positions.system != system for base in shelf.bases.values()):
        raise BackupError(f"there is no base backup of the cluster {system}")
    return system


def _timeline(contents: Contents, goal: Goal, bases: Sequence[Base]) -> int:
    known = {*contents.timelines, *(base.positions.timeline for base in bases)}
    if goal.timeline is not None and goal.timeline not in known:
        raise BackupError(f"there is no timeline {goal.timeline}: there are {sorted(known)}")
    return goal.timeline or max(known)


def _base(
    shelf: Shelf, bases: Sequence[Base], way: Sequence[Stretch], goal: Goal, point: Point | None
) -> Base:
    if goal.base is not None:
        base = shelf.chain(goal.base)[-1]
        if not on_way(base, way):
            raise BackupError(
                f"{base.id} does not lie on the way to timeline {way[-1].timeline}:"
                f" name its own with --timeline {base.positions.timeline}"
            )
        return base
    fitting = [base for base in bases if on_way(base, way)]
    if point is not None:
        if not any(
            stretch.timeline == point.timeline
            and (stretch.end is None or point.position <= stretch.end)
            for stretch in way
        ):
            raise BackupError(
                f"{point.name} lies on timeline {point.timeline}, after the one that leads to"
                f" {way[-1].timeline} has branched off: --timeline {point.timeline}"
            )
        fitting = [base for base in fitting if base.positions.end <= point.position]
    found = newest(fitting, before=goal.time)
    if found is None:
        oldest = min((base.positions.consistent_at for base in bases), default=None)
        since = f"; the oldest is of {oldest:%Y-%m-%dT%H:%M:%SZ}" if oldest else ""
        raise BackupError(f"no base backup was made before that moment on its timeline{since}")
    return found


async def _complete(target: Target, key: BackupKey | None, base: Base) -> None:
    reader = RunReader(target.below(FOLDER), base.manifest, key=key)
    try:
        if missing := await reader.missing():
            raise IntegrityError(f"base backup {base.id}: {missing[0]}", operation="restore")
    finally:
        await reader.close()


def _continuous(contents: Contents, way: Sequence[Stretch], base: Base, goal: Goal) -> None:
    missing = contents.missing(way, base)
    needed = [s for s in missing if s.number <= base.last.number]
    if needed or (missing and not goal.despite_holes):
        hole = check(contents, [base], base.positions.system).holes[0]
        more = "" if needed else "; --despite-holes goes as far as that allows"
        raise IntegrityError(
            f"WAL has a hole: {hole.count} segments from {hole.first} on are not in the archive"
            f"{more}",
            operation="restore",
        )
