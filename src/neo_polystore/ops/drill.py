"""The fire drill: a platform is loaded, backed up, destroyed, restored and compared.

Everything happens in a directory of its own, with servers of its own: nothing of the installation
is touched, so the drill may be run at any time and anywhere.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.restore import execute, plan
from neo_polystore.backup.run import run_backup
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.build import made_stores, open_polystore
from neo_polystore.errors import NotFoundError
from neo_polystore.polystore import Polystore
from neo_polystore.samples import SAMPLED, samples
from neo_polystore.settings import Settings


@dataclass(frozen=True, slots=True)
class Drill:
    """What the drill achieved.

    `recovery_point` is the moment that the restored stores show, `recovery_seconds` how long it
    took from empty directories to a platform that answers. `lost` names, by data type, how many
    records were acknowledged before the backup and are not back as they were.
    """

    run: str
    recovery_point: datetime
    backup_seconds: float
    recovery_seconds: float
    records: int
    bytes: int
    lost: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether everything came back."""
        return self.records > 0 and not any(self.lost.values())

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "ok": self.ok}


async def run_drill(folder: Path, settings: Settings) -> Drill:
    """Run it in `folder`, which must not exist yet and is left as the restored platform is.

    Of the settings only which programs to run and the backup key are used.
    """
    ours = Settings(  # type: ignore[call-arg]
        _env_file=None,
        neo_profile="embedded",
        neo_data_dir=folder / "platform",
        neo_embedded_pg_bin=settings.neo_embedded_pg_bin,
        neo_embedded_user=settings.neo_embedded_user,
    )
    key = BackupKey.of(settings.neo_backup_key)
    await asyncio.to_thread(folder.mkdir, parents=True)
    async with open_polystore(ours) as polystore:
        await _load(polystore, ours)
    target = DirectoryTarget(folder / "backups")
    started = perf_counter()
    async with made_stores(ours) as (routing, stores):
        manifest = await run_backup(stores, routing, target, key=key)
    backup_seconds = perf_counter() - started
    await asyncio.to_thread(shutil.rmtree, ours.neo_data_dir)
    started = perf_counter()
    reader = RunReader(target, manifest, key=key)
    try:
        async with made_stores(ours) as (_, stores):
            await execute(reader, stores, await plan(reader, stores))
    finally:
        await reader.close()
    async with open_polystore(ours) as polystore:
        recovery_seconds = perf_counter() - started
        records, lost = await _compare(polystore, ours)
    return Drill(
        run=manifest.id,
        recovery_point=max(s.snapshot_at for s in manifest.stores if s.snapshot_at is not None),
        backup_seconds=round(backup_seconds, 2),
        recovery_seconds=round(recovery_seconds, 2),
        records=records,
        bytes=sum(store.stored_bytes for store in manifest.stores),
        lost=lost,
    )


async def _load(polystore: Polystore, settings: Settings) -> None:
    for data_type in SAMPLED:
        await polystore.records(data_type, settings.scope()).write(samples(data_type))


async def _compare(polystore: Polystore, settings: Settings) -> tuple[int, dict[str, int]]:
    """How many records were looked for, and how many of each data type are not as they were."""
    records, lost = 0, {}
    for data_type in SAMPLED:
        port = polystore.records(data_type, settings.scope())
        missing = 0
        for record in samples(data_type):
            records += 1
            try:
                found = (await port.get(record.key)).model_dump()
            except NotFoundError:
                missing += 1
                continue
            given = record.model_dump().items()
            missing += any(found[name] != value for name, value in given if value is not None)
        lost[data_type] = missing
    return records, lost
