"""Backs up the indexes of the days: their files, as the last commit of each left them.

tantivy's files never change once they are written, but for `meta.json`, which a commit replaces.
So links to them, made while no commit is under way, are a snapshot that costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from neo_polystore.errors import BackupError
from neo_polystore.ports.backup import Backing, BackupScope, Phase, Saved, Snapshot, Stream
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.days import Days
from neo_polystore.stores.tantivy.errors import STORE, translated
from neo_polystore.stores.tantivy.writer import Writer, sync

_PIECE = 1 << 20
_ASIDE = "backup-"
_STREAM = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)\.(?P<file>[\w][\w.-]*)")
_META = "meta.json"


class TantivySnapshot:
    """Links in a folder of its own, which is removed at the end."""

    positions: Mapping[str, Any]
    excluded: Mapping[str, str]

    def __init__(self, folder: Path):
        self._folder = folder
        self._files = {
            f"{path.parent.name}.{path.name}": path for path in sorted(folder.glob("*/*"))
        }
        self._rows = {
            name: sum(segment["max_doc"] - _deleted(segment) for segment in _segments(path))
            for name, path in self._files.items()
            if path.name == _META
        }
        self.positions = {"days": len(self._rows)}
        self.excluded = {}
        self.held = True

    def streams(self) -> Sequence[Stream]:
        """Every file of every day."""
        return [Stream(name, path.stat().st_size) for name, path in self._files.items()]

    def rows(self, name: str) -> int | None:
        """The documents of a day, said of its meta.json."""
        return self._rows.get(name)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """One file."""
        with self._files[name].open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece


class TantivyBacking:
    """One directory of days."""

    phase: Phase = "follows"
    home: str | None = None

    def __init__(self, config: TantivyConfig):
        self._config = config
        self._root = config.directory

    @property
    def place(self) -> str:
        """The directory."""
        return f"file://{self._root}"

    @asynccontextmanager
    async def before(self) -> AsyncIterator[Mapping[str, Any]]:
        """Nothing to be remembered."""
        yield {}

    @asynccontextmanager
    async def snapshot(self, scope: BackupScope) -> AsyncIterator[Snapshot]:
        """Wait for a commit that is under way, and link what there is then."""
        folder = self._root / f"{_ASIDE}{uuid4().hex}"
        try:
            with translated("backup"):
                await asyncio.to_thread(self._link, folder)
            yield TantivySnapshot(folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _link(self, folder: Path) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        with self._writer().locked():
            for old in self._root.glob(f"{_ASIDE}*"):  # what a killed backup has left
                shutil.rmtree(old, ignore_errors=True)
            folder.mkdir()
            for day in Days(self._root).names():
                meta = self._root / day / _META
                if not meta.exists():
                    continue
                (folder / day).mkdir()
                wanted = {_META, ".managed.json"}
                prefixes = {s["segment_id"].replace("-", "") for s in _segments(meta)}
                for path in (self._root / day).iterdir():
                    if path.name in wanted or path.name.partition(".")[0] in prefixes:
                        os.link(path, folder / day / path.name.removeprefix("."))

    async def occupied(self, scope: BackupScope) -> str | None:
        """Days that are there."""
        names = await asyncio.to_thread(self._days)
        return f"{self._root} holds the logs of {', '.join(names[:3])}" if names else None

    async def clear(self, scope: BackupScope) -> None:
        """Remove the days."""

        def remove() -> None:
            with translated("restore"), self._writer().locked():
                for name in self._days():
                    shutil.rmtree(self._root / name)
                sync(self._root)

        if await asyncio.to_thread(self._root.exists):
            await asyncio.to_thread(remove)

    async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
        """Write the files of each day aside, and put the day in place when it is whole."""
        rows: dict[str, int] = {}
        days: dict[str, list[tuple[str, str]]] = {}
        for name in saved.names:
            match = _STREAM.fullmatch(name)
            if match is None:
                raise BackupError(f"{name!r} is no file of a day", store=STORE)
            days.setdefault(match["day"], []).append((name, match["file"]))
        with translated("restore"):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for day, files in days.items():
                aside = self._root / f"{_ASIDE}{uuid4().hex}"
                aside.mkdir()
                for name, file in files:
                    await _write(aside / _on_disk(file), saved.read(name))
                    if file == _META:
                        rows[day] = saved.rows(name) or 0
                sync(aside)
                aside.rename(self._root / day)
                sync(self._root)
        return rows

    def _days(self) -> list[str]:
        return sorted(Days(self._root).names()) if self._root.exists() else []

    def _writer(self) -> Writer:
        return Writer(self._config, Days(self._root), _never)


async def _write(path: Path, pieces: AsyncIterator[bytes]) -> None:
    with path.open("xb") as file:
        async for piece in pieces:
            await asyncio.to_thread(file.write, piece)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())


def _on_disk(file: str) -> str:
    return ".managed.json" if file == "managed.json" else file


def _segments(meta: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(meta.read_bytes())["segments"]
    return found


def _deleted(segment: dict[str, Any]) -> int:
    deletes = segment.get("deletes")
    return int(deletes["num_deleted_docs"]) if deletes else 0


def _never() -> Any:
    raise AssertionError("a backup writes no entries")


_: type[Backing] = TantivyBacking
