"""Whether the archive has all the WAL that leads from base backups to the newest moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.targets import Target
from neo_polystore.errors import BackupError, PolystoreError
from neo_polystore.pitr.archive import WalArchive, systems_of
from neo_polystore.pitr.bases import Base, shelf_of
from neo_polystore.pitr.names import (
    SEGMENT_BYTES,
    Segment,
    Stretch,
    history_name,
    history_of,
    segment_of,
    way_to,
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive has of its cluster: whole segments, and the texts of timelines' histories."""

    segments: frozenset[Segment]
    histories: dict[int, str]
    names: frozenset[str]
    bytes: int
    segment_bytes: int = SEGMENT_BYTES

    @property
    def timelines(self) -> list[int]:
        """Every timeline that is known of."""
        return sorted({s.timeline for s in self.segments} | set(self.histories))

    def newest(self, timeline: int) -> int | None:
        """The number of a timeline's last segment."""
        return max((s.number for s in self.segments if s.timeline == timeline), default=None)

    def way(self, timeline: int) -> list[Stretch]:
        """How WAL leads to a timeline; BackupError where its history is missing."""
        return way_to(timeline, self.histories)

    def missing(self, way: Sequence[Stretch], base: Base) -> list[Segment]:
        """Segments that are not there, of those from a base's first to the newest on the way."""
        size, start = self.segment_bytes, base.first.number
        found: list[Segment] = []
        for stretch in way:
            if stretch.timeline < base.positions.timeline:
                continue
            first = max(start, stretch.begin // size)
            if stretch.end is not None:  # the segment of the branch is the next timeline's
                last = stretch.end // size - 1
            else:
                last = self.newest(stretch.timeline) or -1
            if stretch.timeline == base.positions.timeline and stretch.end is None:
                last = max(last, base.last.number)
            wanted = (Segment(stretch.timeline, number) for number in range(first, last + 1))
            found += [segment for segment in wanted if segment not in self.segments]
        return found


@dataclass(frozen=True, slots=True)
class Hole:
    """Segments of one timeline that are missing, first to last."""

    timeline: int
    first: str
    last: str
    count: int


@dataclass(slots=True)
class Findings:
    """What the check found. `bases`: which of them lead to the newest moment of a timeline."""

    system: str
    segments: int
    bytes: int
    timelines: list[int]
    newest: str | None
    holes: list[Hole]
    bases: dict[str, bool]
    damaged: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or damaged."""
        return not (self.holes or self.damaged or self.problems)

    @property
    def trouble(self) -> str:
        """The first thing that is wrong, for people."""
        if self.holes:
            return f"{self.holes[0].count} segments are missing from {self.holes[0].first} on"
        return next(iter([*self.problems, *self.damaged.values()]), "")


async def check_all(target: Target, key: BackupKey | None, *, deep: bool = False) -> list[Findings]:
    """Check the archives of all clusters that have WAL or base backups here; `deep` reads them."""
    await asyncio.to_thread(target.check, writing=False)
    shelf = await asyncio.to_thread(shelf_of, target, key)
    ours = {base.positions.system for base in shelf.bases.values()}
    found = []
    for system in sorted({*await asyncio.to_thread(systems_of, target), *ours}):
        bases = [base for base in shelf.bases.values() if base.positions.system == system]
        archive = WalArchive(target, key, system)
        size = bases[0].positions.segment_bytes if bases else SEGMENT_BYTES
        contents = await asyncio.to_thread(contents_of, archive, size)
        each = check(contents, bases, system)
        if deep:
            each.damaged = await damaged(archive, contents.names)
        found.append(each)
    return found


def contents_of(archive: WalArchive, segment_bytes: int = SEGMENT_BYTES) -> Contents:
    """List an archive and read its histories. Blocks."""
    names, size = set(), 0
    for item in archive.list():
        names.add(item.name)
        size += item.size
    segments = {
        segment
        for name in names
        if not name.endswith(".partial")
        and (segment := segment_of(name, segment_bytes)) is not None
    }
    histories = {
        timeline: archive.fetch(history_name(timeline)).decode(errors="replace")
        for name in names
        if (timeline := history_of(name)) is not None
    }
    return Contents(frozenset(segments), histories, frozenset(names), size, segment_bytes)


def check(contents: Contents, bases: Iterable[Base], system: str) -> Findings:
    """Holes from the oldest base on; without any base, from the oldest segment on."""
    found = Findings(
        system=system,
        segments=len(contents.segments),
        bytes=contents.bytes,
        timelines=contents.timelines,
        newest=max(contents.segments).name(contents.segment_bytes) if contents.segments else None,
        holes=[],
        bases={},
    )
    missing: set[Segment] = set()
    bases = list(bases)
    for timeline in contents.timelines:
        try:
            way = contents.way(timeline)
        except BackupError as error:
            found.problems.append(error.message)
            continue
        for base in bases:
            if not on_way(base, way):
                continue
            lacks = contents.missing(way, base)
            found.bases[base.id] = found.bases.get(base.id, False) or not lacks
            missing.update(lacks)
    for base in bases:
        found.bases.setdefault(base.id, False)
    if not bases:
        missing |= _gaps(contents)
    found.holes = _holes(missing, contents.segment_bytes)
    return found


def on_way(base: Base, way: Sequence[Stretch]) -> bool:
    """Whether a base backup became consistent on the way."""
    where = base.positions
    return any(
        stretch.timeline == where.timeline
        and stretch.begin <= where.begin
        and (stretch.end is None or where.end <= stretch.end)
        for stretch in way
    )


async def damaged(archive: WalArchive, names: Iterable[str]) -> dict[str, str]:
    """Read and check every file; what is wrong with those that are not as they were."""
    found: dict[str, str] = {}
    for name in sorted(names):
        try:
            await asyncio.to_thread(archive.fetch, name)
        except PolystoreError as error:
            found[name] = error.message
    return found


def _gaps(contents: Contents) -> set[Segment]:
    found: set[Segment] = set()
    for one, other in pairwise(sorted(contents.segments)):
        if one.timeline == other.timeline:
            found |= {Segment(one.timeline, n) for n in range(one.number + 1, other.number)}
    return found


def _holes(missing: set[Segment], size: int) -> list[Hole]:
    runs: list[list[Segment]] = []
    for segment in sorted(missing):
        last = runs[-1][-1] if runs else None
        if last == Segment(segment.timeline, segment.number - 1):
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return [Hole(r[0].timeline, r[0].name(size), r[-1].name(size), len(r)) for r in runs]
