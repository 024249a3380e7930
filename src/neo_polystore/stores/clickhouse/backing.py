"""Backs up a database of ClickHouse: each table's definition and its rows, by SELECT.

BACKUP would need a disk on the server's side, which the embedded engine has none of and a server's
administrator has to allow. Rows are read merged (FINAL) in the order of the sorting key, as
TabSeparated: the same rows give the same bytes, however many parts they are spread over, and each
row is a line.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client as Driver

from neo_polystore.ports.backup import Backing, BackupScope, Phase, Saved, Snapshot, Stream
from neo_polystore.stores.clickhouse.client import open_driver
from neo_polystore.stores.clickhouse.config import ClickHouseConfig
from neo_polystore.stores.clickhouse.errors import translated

TABLES = "tables.json"
_PIECE = 1 << 20
_INSERTED = 4 << 20
_LISTED = """
SELECT name, create_table_query, sorting_key, engine, total_bytes FROM system.tables
WHERE database = {name:String} AND engine LIKE '%MergeTree' ORDER BY name
"""
_COLUMNS = """
SELECT name FROM system.columns WHERE database = {name:String} AND table = {table:String}
    AND default_kind IN ('', 'DEFAULT') ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    definition: str
    sorting_key: str
    engine: str
    size: int
    columns: tuple[str, ...]

    @property
    def stream(self) -> str:
        return f"t.{self.name}"

    @property
    def select(self) -> str:
        merged = "FINAL" if "Replacing" in self.engine else ""
        # columns that are no part of the key decide between rows that are equal in it
        order = ", ".join(filter(None, [self.sorting_key, *map(_quoted, self.columns[:1])]))
        return (
            f"SELECT {', '.join(map(_quoted, self.columns))} FROM {_quoted(self.name)} {merged}"
            f" ORDER BY {order} FORMAT TabSeparated"
        )


class ClickHouseSnapshot:
    """Each statement sees one moment of its table; nothing is held open."""

    positions: Mapping[str, Any]
    excluded: Mapping[str, str]

    def __init__(self, config: ClickHouseConfig, driver: Driver):
        self._driver = driver
        self._tables = {table.stream: table for table in _tables(config, driver)}
        self._rows: dict[str, int] = {}
        [[version]] = driver.query("SELECT version()").result_rows
        self.positions = {"server_version": version}
        self.excluded = {}
        self.held = False

    def streams(self) -> Sequence[Stream]:
        """The definitions, then the tables."""
        tables = [Stream(table.stream, table.size) for table in self._tables.values()]
        return [Stream(TABLES, 1 << 10), *tables]

    def rows(self, name: str) -> int | None:
        """Lines that were read."""
        return self._rows.get(name)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """One table, or the definitions."""
        if name == TABLES:
            found = {t.name: t.definition for t in self._tables.values()}
            yield orjson.dumps(found, option=orjson.OPT_SORT_KEYS)
            return
        select = self._tables[name].select
        with translated("backup"):
            answer: Any = await asyncio.to_thread(self._driver.raw_stream, select)
        lines = 0
        try:
            while piece := await asyncio.to_thread(_next, answer):
                lines += piece.count(b"\n")
                yield piece
        finally:
            await asyncio.to_thread(answer.close)
        self._rows[name] = lines


class ClickHouseBacking:
    """One database."""

    phase: Phase = "follows"
    home: str | None = None

    def __init__(self, config: ClickHouseConfig):
        self._config = config

    @property
    def place(self) -> str:
        """Host, port and database."""
        return f"clickhouse://{self._config.host}:{self._config.port}/{self._config.database}"

    @asynccontextmanager
    async def before(self) -> AsyncIterator[Mapping[str, Any]]:
        """Nothing to be remembered."""
        yield {}

    @asynccontextmanager
    async def snapshot(self, scope: BackupScope) -> AsyncIterator[Snapshot]:
        """The tables as each is read."""
        driver = await asyncio.to_thread(self._connected)
        try:
            with translated("backup"):
                snapshot = await asyncio.to_thread(ClickHouseSnapshot, self._config, driver)
            yield snapshot
        finally:
            await asyncio.to_thread(driver.close)

    async def occupied(self, scope: BackupScope) -> str | None:
        """Tables of the database; without rows they stand in nobody's way."""
        found = await asyncio.to_thread(self._found)
        full = [table.name for table in found if table.size]
        return f"the database {self._config.database} has rows in {full[0]}" if full else None

    async def clear(self, scope: BackupScope) -> None:
        """Drop the tables."""

        def drop() -> None:
            with translated("restore"), closing(self._connected()) as driver:
                for table in _tables(self._config, driver):
                    driver.command(f"DROP TABLE {_quoted(table.name)} SYNC")

        await asyncio.to_thread(drop)

    async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
        """Make the tables and insert their rows, some megabytes of whole lines at a time."""
        definitions = orjson.loads(b"".join([p async for p in saved.read(TABLES)]))
        await asyncio.to_thread(self._define, definitions)
        rows = {}
        driver = await asyncio.to_thread(self._connected)
        try:
            for name in definitions:
                async for lines in _whole_lines(saved.read(f"t.{name}")):
                    await asyncio.to_thread(self._insert, driver, name, lines)
                rows[name] = saved.rows(f"t.{name}") or 0
        finally:
            await asyncio.to_thread(driver.close)
        return rows

    def _insert(self, driver: Driver, table: str, lines: bytes) -> None:
        with translated("restore"):
            columns = driver.query(
                _COLUMNS, parameters={"name": self._config.database, "table": table}
            ).result_columns[0]
            driver.raw_insert(table, list(columns), lines, fmt="TabSeparated")

    def _define(self, definitions: dict[str, str]) -> None:
        with translated("restore"):
            anywhere = open_driver(self._config, database=None)
            try:
                anywhere.command(
                    "CREATE DATABASE IF NOT EXISTS {name:Identifier}",
                    parameters={"name": self._config.database},
                )
            finally:
                anywhere.close()
            with closing(self._connected()) as driver:
                for name, definition in definitions.items():
                    driver.command(f"DROP TABLE IF EXISTS {_quoted(name)} SYNC")
                    # the name of the database in the definition is that of the backup's
                    driver.command(_HEAD.sub(f"CREATE TABLE {_quoted(name)}", definition, count=1))

    def _found(self) -> list[_Table]:
        with translated("restore"):
            anywhere = open_driver(self._config, database=None)
            try:
                return _tables(self._config, anywhere)
            finally:
                anywhere.close()

    def _connected(self) -> Driver:
        with translated("backup"):
            return open_driver(self._config, database=self._config.database, connections=4)


_HEAD = re.compile(r"^CREATE TABLE (`[^`]+`|\w+)(\.(`[^`]+`|\w+))?")


def _tables(config: ClickHouseConfig, driver: Driver) -> list[_Table]:
    found = []
    for name, definition, key, engine, size in driver.query(
        _LISTED, parameters={"name": config.database}
    ).result_rows:
        columns = driver.query(
            _COLUMNS, parameters={"name": config.database, "table": name}
        ).result_columns
        names = tuple(columns[0]) if columns else ()
        found.append(_Table(name, definition, key, engine, size or 0, names))
    return found


async def _whole_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        for start in range(0, len(piece), _INSERTED):
            text = rest + piece[start : start + _INSERTED]
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if end:
                yield text[:end]
    if rest:
        yield rest


def _next(answer: Any) -> bytes:
    with translated("backup"):
        piece: bytes = answer.read(_PIECE)
        return piece


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


_: type[Backing] = ClickHouseBacking
