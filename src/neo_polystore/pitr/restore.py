"""Brings a cluster back into a new data directory: base backups combined, then WAL replayed."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.targets import Target
from neo_polystore.errors import BackupError, ConfigError, ConflictError
from neo_polystore.pgkit.programs import own_output
from neo_polystore.pitr.archive import WalArchive, system_of
from neo_polystore.pitr.bases import FOLDER, STORE, Base
from neo_polystore.pitr.names import history_of
from neo_polystore.pitr.plan import Plan
from neo_polystore.pitr.tarring import unpack

Advanced = Callable[[int, int], None]

Recover = Callable[[Path, Mapping[str, str]], Awaitable[str]]
"""Runs the recovery of a data directory with these settings; what the server logged."""

_ROOM = 256 << 20
"""Bytes beside the base backups: WAL that is replayed comes one segment at a time."""

_STOPPED = re.compile(r"recovery stopping .*")
_LAST = re.compile(r"last completed transaction was at log time .*")


@dataclass(frozen=True, slots=True)
class Recovered:
    """A cluster that was brought back and shut down. `reached` is what PostgreSQL says of it."""

    directory: Path
    base: str
    system: str
    timeline: int
    reached: str


async def restore(
    target: Target,
    plan: Plan,
    into: Path,
    *,
    key: BackupKey | None,
    programs: Path | None,
    recover: Recover,
    advanced: Advanced = lambda content, stored: None,
) -> Recovered:
    """Do what a plan says. `into` must not exist, or be empty; after a failure it is as before.

    Raises ConflictError for a directory with anything in it, ConfigError where PostgreSQL's
    programs do not fit or room is short, IntegrityError for damaged parts, and BackupError where
    the recovery does not reach its goal.
    """
    await _check(plan, into, programs)
    async with _workshop(into) as workshop:
        cluster = await _cluster(target, plan, workshop, key, programs, advanced)
        await own_output(programs, "pg_verifybackup", "--no-parse-wal", "--quiet", str(cluster))
        log = await recover(cluster, plan.target)
        timeline = await _timeline(programs, cluster)
        await asyncio.to_thread(_put, cluster, into)
    return Recovered(into, plan.base.id, plan.base.positions.system, timeline, _reached(log))


def claim_timeline(archive: WalArchive, cluster: Path) -> list[str]:
    """Archive the histories of a recovered cluster's timelines; the names of the files.

    ConflictError where its own timeline is in the archive already: another recovery went into
    production on it, and WAL of the two cannot lie in one archive. Blocks.
    """
    if system_of(cluster) != archive.system:
        raise ConflictError(f"{cluster} is another cluster than {archive.system}")
    names = sorted(p.name for p in (cluster / "pg_wal").iterdir() if history_of(p.name))
    for name in names:
        if not archive.push(cluster / "pg_wal" / name, name) and name == names[-1]:
            raise ConflictError(
                f"another recovery has taken timeline {history_of(name)}: restore once more"
            )
    return names


async def shut_down(programs: Path | None, cluster: Path) -> bool:
    """Whether a cluster was stopped cleanly and no recovery of it is pending."""
    found = await own_output(programs, "pg_controldata", "-D", str(cluster))
    state = re.search(r"Database cluster state: +(.+)", found)
    pending = any((cluster / name).exists() for name in ("recovery.signal", "postmaster.pid"))
    return state is not None and state[1] == "shut down" and not pending


async def _check(plan: Plan, into: Path, programs: Path | None) -> None:
    await asyncio.to_thread(_check_room, plan, into)
    wanted = plan.base.positions.postgres
    said = await own_output(programs, "postgres", "--version")
    match = re.search(r"\(PostgreSQL\) (\d+)", said)
    if match is None or int(match[1]) != wanted:
        raise ConfigError(
            f"the base backup is of PostgreSQL {wanted}, the programs are of {said.strip()}:"
            " NEO_EMBEDDED_PG_BIN must name the bin folder of such a version"
        )


def _check_room(plan: Plan, into: Path) -> None:
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise ConflictError(f"{into} is not empty: nothing was touched")
    if not into.parent.is_dir():
        raise ConfigError(f"{into.parent}: no such directory")
    free, needed = shutil.disk_usage(into.parent).free, plan.content_bytes + _ROOM
    if free < needed:
        raise ConfigError(f"{into.parent} has {free:,} bytes free, the restore needs {needed:,}")


@asynccontextmanager
async def _workshop(into: Path) -> AsyncIterator[Path]:
    """A directory beside the new one; what is left in it at the end is removed."""
    folder = into.with_name(f".{into.name}.{secrets.token_hex(4)}")
    folder.mkdir(mode=0o711)  # the server's own account goes through it
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _cluster(
    target: Target,
    plan: Plan,
    workshop: Path,
    key: BackupKey | None,
    programs: Path | None,
    advanced: Advanced,
) -> Path:
    """The data directory of the plan's base backup."""
    folders = []
    for base in plan.chain:
        folders.append(workshop / base.id)
        folders[-1].mkdir(mode=0o700)
        await _unpack(target, base, folders[-1], key, advanced)
    if len(folders) == 1:
        await own_output(programs, "initdb", "--sync-only", "-D", str(folders[0]))
        return folders[0]
    whole = workshop / "combined"
    # the parts are ours and go away: from 18 on their files may become those of the whole
    link = ["--link"] if plan.base.positions.postgres >= 18 else []
    paths = map(str, folders)
    await own_output(programs, "pg_combinebackup", *link, *paths, "-o", str(whole))
    for folder in folders:
        await asyncio.to_thread(shutil.rmtree, folder)
    return whole


async def _unpack(
    target: Target, base: Base, folder: Path, key: BackupKey | None, advanced: Advanced
) -> None:
    reader = RunReader(target.below(FOLDER), base.manifest, key=key, advanced=advanced)
    chunks = reader.read(STORE, base.manifest.store(STORE).streams[0])
    try:
        await unpack(chunks, folder)
    finally:
        await reader.close()


async def _timeline(programs: Path | None, cluster: Path) -> int:
    found = await own_output(programs, "pg_controldata", "-D", str(cluster))
    match = re.search(r"Latest checkpoint's TimeLineID: +(\d+)", found)
    if match is None:
        raise BackupError(f"pg_controldata says nothing of the timeline of {cluster}")
    return int(match[1])


def _reached(log: str) -> str:
    for pattern in (_STOPPED, _LAST):
        if found := pattern.findall(log):
            return str(found[-1])
    return "the end of the archived WAL"


def _put(cluster: Path, into: Path) -> None:
    """Rename durably; an empty directory gives way to it."""
    cluster.rename(into)
    descriptor = os.open(into.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
