"""A directory as a store of objects."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from neo_polystore.activity import Activity, Recorder
from neo_polystore.errors import NotFoundError, PolystoreError, UnavailableError
from neo_polystore.objectkit.ages import ObjectAges
from neo_polystore.objectkit.backing import ObjectsBacking
from neo_polystore.objectkit.clearing import clear_objects
from neo_polystore.objectkit.threads import finished
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import (
    Cleared,
    Health,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.errors import STORE, translated
from neo_polystore.stores.files.names import path_of
from neo_polystore.stores.files.objects import FilesObjects
from neo_polystore.stores.files.volume import Volume

_FORMAT = "1"
_NO_SCHEMA = "a directory has no schema"
_LITTLE = 256 << 20


class FilesStore:
    """One directory, shared by any processes of this machine."""

    name: ClassVar[str] = STORE
    serves: ClassVar[frozenset[str]] = frozenset({"objects"})
    features: ClassVar[frozenset[str]] = frozenset({"streaming", "checksums", "atomic-replace"})

    def __init__(self, config: FilesConfig):
        self._volume = Volume(config.directory)
        self._recorder = Recorder("files")
        self._ports = {"objects": FilesObjects(self._volume, config, self._recorder)}

    async def connect(self) -> None:
        """Make the directory where there is none, and remove what a kill left in it."""
        with self._recorder.statement("connect"), translated("connect"):
            await finished(self._volume.open)

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def health(self) -> Health:
        """Write and remove a file, and look at the free space."""
        started = time.perf_counter()
        try:
            with self._recorder.statement("health"), translated("health"):
                free = await finished(self._probe)
        except PolystoreError as error:
            return Health("unhealthy", detail=error.message)
        milliseconds = (time.perf_counter() - started) * 1000
        detail = f"only {free >> 20} MiB are free" if free < _LITTLE else ""
        return Health(
            "degraded" if detail else "healthy",
            _FORMAT,
            detail,
            milliseconds,
            {"directory": str(self._volume.root), "free_bytes": free},
        )

    @property
    def backing(self) -> ObjectsBacking:
        """How it is backed up: every object with its content."""
        return ObjectsBacking(
            self._ports["objects"], place=f"file://{self._volume.root}", content=True, open=self
        )

    @property
    def activity(self) -> Activity:
        """What the directory was asked."""
        return Activity(self._recorder)

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Nothing to do."""
        return MigrationReport(self.name, "objects", _FORMAT, not_applicable=_NO_SCHEMA)

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Nothing to take back."""
        return await self.migrate(dry_run=True)

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """Nothing to write down."""
        return Script(cls.name, not_applicable=_NO_SCHEMA)

    async def validate(self) -> Validation:
        """Nothing to compare."""
        return Validation.of(await self.migrate(dry_run=True))

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove every object."""
        return await clear_objects(self._ports["objects"], store=self.name, dry_run=dry_run)

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these keys have a file, by the file system itself."""
        objects: FilesObjects = self.port(data_type)

        def exists(key: str) -> bool:
            try:
                return (self._volume.root / path_of(*objects.split(key))).is_file()
            except NotFoundError:
                return False

        with translated("witness"):
            return sum([await finished(partial(exists, key)) for key in keys])

    def port(self, data_type: str) -> Any:
        """`objects`."""
        return self._ports[data_type]

    def ages(self, data_type: str) -> Ages | None:
        """The retention of `objects`."""
        return ObjectAges(self._ports["objects"])

    def _probe(self) -> int:
        if not self._volume.root.is_dir():
            raise UnavailableError(f"{self._volume.root} does not exist", store=self.name)
        incoming = self._volume.begin()
        try:
            incoming.write(b"probe")
            os.fsync(incoming.handle)
        finally:
            self._volume.end(incoming)
        space = os.statvfs(self._volume.root)
        return space.f_bavail * space.f_frsize


_: type[Store] = FilesStore
