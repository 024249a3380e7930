"""Makes a base backup with the server's own pg_basebackup, streamed in parts into the target."""

from __future__ import annotations

import asyncio
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Manifest, SavedStore, SavedStream, folder_of, run_id
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.run import Progress, finish, versions
from neo_polystore.backup.runs import digest_of
from neo_polystore.backup.sending import PART_BYTES, Sender
from neo_polystore.backup.targets import Target
from neo_polystore.errors import BackupError, ConfigError, NotFoundError, UnavailableError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.programs import running
from neo_polystore.pitr.archive import WalArchive
from neo_polystore.pitr.bases import (
    FOLDER,
    MANIFEST,
    STORE,
    TAR,
    Base,
    Kind,
    Positions,
    Shelf,
    base_of,
    newest,
    shelf_of,
)
from neo_polystore.pitr.check import on_way
from neo_polystore.pitr.names import Stretch, history_name, position, way_to
from neo_polystore.pitr.server import (
    PATIENCE,
    Cluster,
    Connection,
    archived,
    cluster_of,
    connected,
    now_of,
)
from neo_polystore.pitr.tarring import Picker

_CHUNK = 1 << 20
_UNFIT = re.compile(r"summar|manifest", re.IGNORECASE)
"""What pg_basebackup says where the server cannot tell what has changed since the parent."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which kind (None: incremental where that is possible), and when a full one is due again."""

    kind: Kind | None = None
    full_after: timedelta = timedelta(days=7)
    part_bytes: int = PART_BYTES
    patience: float = PATIENCE


def _now() -> datetime:
    return datetime.now(UTC)


async def make_base(
    admin: PgConfig,
    target: Target,
    *,
    key: BackupKey | None = None,
    wish: Wish | None = None,
    progress: Progress | None = None,
    now: Callable[[], datetime] = _now,
) -> Base:
    """Back up the cluster of this administrator, and wait until the WAL for it is archived.

    Raises ConfigError where the cluster does not archive, and BackupError where its WAL does not
    arrive in this target, or where an incremental one was wished for and cannot be made.
    """
    wish, progress = wish or Wish(), progress or Progress()
    await asyncio.to_thread(target.check, writing=True)
    async with connected(admin) as connection:
        cluster = await cluster_of(connection)
        shelf = await asyncio.to_thread(shelf_of, target, key)
        archive = WalArchive(target, key, cluster.system)
        way = await asyncio.to_thread(_way, archive, cluster)
        parent, reason = _parent(cluster, shelf, way, key, wish, now())
        if wish.kind == "incremental" and parent is None:
            raise BackupError(f"no incremental base backup can be made: {reason}")
        work = _Work(admin, connection, cluster, target, key, wish, progress, now)
        try:
            return await work.run(parent)
        except UnavailableError as error:
            if parent is None or wish.kind is not None or not _UNFIT.search(error.message):
                raise
        return await work.run(None)


def _way(archive: WalArchive, cluster: Cluster) -> list[Stretch]:
    """How the server came to its timeline, as far as the archive knows."""
    if cluster.timeline == 1:
        return way_to(1, {})
    try:
        history = archive.fetch(history_name(cluster.timeline)).decode(errors="replace")
    except NotFoundError:
        return [Stretch(cluster.timeline, 0, None)]
    return way_to(cluster.timeline, {cluster.timeline: history})


def _parent(
    cluster: Cluster,
    shelf: Shelf,
    way: list[Stretch],
    key: BackupKey | None,
    wish: Wish,
    now: datetime,
) -> tuple[Base | None, str]:
    """What the next one may build on; where nothing, why."""
    if wish.kind == "full":
        return None, "a full one is wished for"
    if cluster.version < 17:
        return None, f"PostgreSQL {cluster.version} has none, 17 has"
    if not cluster.summarizes:
        return None, "summarize_wal is off"
    ours = [
        base
        for base in shelf.bases.values()
        if base.positions.system == cluster.system
        and base.positions.postgres == cluster.version
        and on_way(base, way)
        and base.manifest.key_id == (key.id if key is not None else None)
    ]
    parent = newest(ours)
    if parent is None:
        return None, "there is none of this cluster under this key to build on"
    try:
        full = shelf.chain(parent.id)[0]
    except BackupError as error:
        return None, error.message
    if wish.kind is None and now - full.positions.consistent_at >= wish.full_after:
        return None, "a full one is due"
    return parent, ""


@dataclass
class _Work:
    admin: PgConfig
    connection: Connection
    cluster: Cluster
    target: Target
    key: BackupKey | None
    wish: Wish
    progress: Progress
    now: Callable[[], datetime]

    async def run(self, parent: Base | None) -> Base:
        """One base backup; what a failed one has stored is removed."""
        below = self.target.below(FOLDER)
        started = self.now()
        run = run_id(started, f"{secrets.randbelow(16**3):03x}")
        self.progress.started(run, self.cluster.bytes if parent is None else 0)
        try:
            streams, positions = await self._streams(run, parent)
            base = base_of(self._manifest(run, started, streams, positions))
            archive = WalArchive(self.target, self.key, self.cluster.system)
            await archived(
                self.connection, archive, base.last, self.cluster.segment_bytes,
                patience=self.wish.patience,
            )  # fmt: skip
            manifest = base.manifest.model_copy(update={"finished": max(started, self.now())})
            await asyncio.to_thread(finish, below, manifest, self.key)
            return base_of(manifest)
        except Exception:
            await asyncio.to_thread(_forget, below, run)
            raise

    async def _streams(
        self, run: str, parent: Base | None
    ) -> tuple[tuple[SavedStream, ...], Positions]:
        sender = Sender(
            self.target.below(FOLDER),
            run,
            key=self.key,
            existing={},
            part_bytes=self.wish.part_bytes,
            advanced=self.progress.advanced,
        )
        picker = Picker("backup_manifest")
        try:
            with tempfile.TemporaryDirectory(prefix="neo-base-") as folder:
                arguments = []
                if parent is not None:
                    path = Path(folder) / "backup_manifest"
                    await self._load(parent, path)
                    arguments = [f"--incremental={path}"]
                tar = await sender.send(STORE, TAR, self._tar(picker, arguments))
            listed = await sender.send(STORE, MANIFEST, _once(bytes(picker.content)))
        finally:
            await sender.close()
        streams = (SavedStream(name=TAR, parts=tar), SavedStream(name=MANIFEST, parts=listed))
        return streams, await self._positions(picker, parent)

    async def _tar(self, picker: Picker, arguments: list[str]) -> AsyncIterator[bytes]:
        options = ("-D", "-", "-Ft", "-X", "none", "-c", "fast", "--no-password")
        async with running(self.admin, "pg_basebackup", *options, *arguments) as process:
            assert process.stdout is not None  # noqa: S101 - asked for
            while chunk := await process.stdout.read(_CHUNK):
                picker.feed(chunk)
                yield chunk

    async def _load(self, parent: Base, path: Path) -> None:
        """The parent's backup_manifest into a file."""
        reader = RunReader(self.target.below(FOLDER), parent.manifest, key=self.key)
        stream = parent.manifest.store(STORE).streams[1]
        try:
            with path.open("wb") as file:
                async for chunk in reader.read(STORE, stream):
                    file.write(chunk)
        finally:
            await reader.close()

    async def _positions(self, picker: Picker, parent: Base | None) -> Positions:
        try:
            listed: dict[str, Any] = orjson.loads(picker.content)
            ranges = listed["WAL-Ranges"]
            begin, end = position(ranges[0]["Start-LSN"]), position(ranges[-1]["End-LSN"])
            timeline = int(ranges[-1]["Timeline"])
            same = str(listed.get("System-Identifier", self.cluster.system)) == self.cluster.system
        except (ValueError, KeyError, IndexError, TypeError):
            raise BackupError("pg_basebackup has sent no manifest that can be read") from None
        if not same or len(ranges) != 1:
            raise ConfigError("the server changed its identity or timeline meanwhile: try again")
        return Positions(
            kind="full" if parent is None else "incremental",
            system=self.cluster.system,
            postgres=self.cluster.version,
            timeline=timeline,
            begin=begin,
            end=end,
            segment_bytes=self.cluster.segment_bytes,
            consistent_at=await now_of(self.connection),
            files=picker.members,
            parent=parent.id if parent is not None else None,
            parent_sha256=digest_of(parent.manifest) if parent is not None else None,
        )

    def _manifest(
        self,
        run: str,
        started: datetime,
        streams: tuple[SavedStream, ...],
        positions: Positions,
    ) -> Manifest:
        store = SavedStore(
            name=STORE,
            place=f"{self.admin.host}:{self.admin.port}",
            snapshot_at=started,
            positions=positions.model_dump(mode="json"),
            streams=streams,
        )
        return Manifest(
            id=run,
            started=started,
            finished=started,
            versions={**versions(), "postgres": str(positions.postgres)},
            profile="",
            scope={"stores": STORE},
            part_bytes=self.wish.part_bytes,
            key_id=self.key.id if self.key is not None else None,
            stores=(store,),
        )


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _forget(target: Target, run: str) -> None:
    for name in [item.name for item in target.list(folder_of(run))]:
        target.delete(name)
