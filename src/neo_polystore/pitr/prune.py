"""Which base backups may go, and with them the WAL that none of the others needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from neo_polystore.backup import prune as pruning
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.prune import Rules, Verdict
from neo_polystore.backup.runs import Run
from neo_polystore.backup.targets import DirectoryTarget, Target
from neo_polystore.pitr.archive import FOLDER as WAL
from neo_polystore.pitr.archive import WalArchive, systems_of
from neo_polystore.pitr.bases import FOLDER, Base, Shelf
from neo_polystore.pitr.names import segment_of


@dataclass(frozen=True, slots=True)
class Removal:
    """WAL of one cluster that goes: file names, and how many bytes they take."""

    system: str
    names: tuple[str, ...]
    bytes: int


def judge(shelf: Shelf, rules: Rules, now: datetime) -> list[Verdict]:
    """A verdict for each base backup, by the rules for runs, of each cluster by itself.

    What a kept one builds on is kept, and so is one that cannot be read.
    """
    found: list[Verdict] = []
    systems = {run.id: _system(shelf, run) for run in shelf.runs}
    for system in sorted(set(systems.values())):
        found += pruning.judge([r for r in shelf.runs if systems[r.id] == system], rules, now)
    kept = {verdict.run.id for verdict in found if verdict.keep}
    needed: dict[str, str] = {}
    for run in kept & set(shelf.bases):
        parent = shelf.bases[run].positions.parent
        while parent is not None:
            needed.setdefault(parent, run)
            base = shelf.bases.get(parent)
            parent = base.positions.parent if base is not None else None
    verdicts = [
        Verdict(v.run, True, f"{needed[v.run.id]} builds on it")
        if v.run.id in needed and not v.keep
        else v
        for v in found
    ]
    return sorted(verdicts, key=lambda verdict: verdict.run.id, reverse=True)


def unneeded(
    target: Target, key: BackupKey | None, shelf: Shelf, verdicts: Sequence[Verdict]
) -> list[Removal]:
    """WAL from before the first segment of the oldest base backup that stays. Blocks.

    None of a cluster without such a base backup, and none at all while one cannot be read: nobody
    knows where it begins. Histories of timelines stay.
    """
    kept = {verdict.run.id for verdict in verdicts if verdict.keep}
    if any(run.problem is not None for run in shelf.runs):
        return []
    found = []
    for system in systems_of(target):
        bases = [b for b in shelf.bases.values() if b.id in kept and b.positions.system == system]
        if not bases:
            continue
        first, size = _first(bases)
        archive = WalArchive(target, key, system)
        items = [
            item
            for item in archive.list()
            if (segment := segment_of(item.name[:24], size)) is not None and segment.number < first
        ]
        found.append(Removal(system, tuple(i.name for i in items), sum(i.size for i in items)))
    return found


def remove(
    target: Target, key: BackupKey | None, verdicts: Sequence[Verdict], wal: Sequence[Removal]
) -> None:
    """Carry it out: base backups first, those that build on others before these. Blocks."""
    below = target.below(FOLDER)
    for verdict in verdicts:  # newest first
        if not verdict.keep:
            pruning.remove(below, verdict.run.id)
    for removal in wal:
        archive = WalArchive(target, key, removal.system)
        for name in removal.names:
            archive.remove(name)
    if isinstance(target, DirectoryTarget):
        for name in list(target.leftovers(WAL)):
            target.delete(name)


def _system(shelf: Shelf, run: Run) -> str:
    base = shelf.bases.get(run.id)
    return base.positions.system if base is not None else ""


def _first(bases: Sequence[Base]) -> tuple[int, int]:
    """The number of the first segment that any of them needs, and the size of segments."""
    oldest = min(bases, key=lambda base: base.first.number)
    return oldest.first.number, oldest.positions.segment_bytes
