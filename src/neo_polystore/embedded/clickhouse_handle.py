"""One connection to the chDB engine, and running statements on it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from neo_polystore.embedded.clickhouse_errors import BAD_ARGUMENTS, ClickHouseError, from_engine

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")


@dataclass
class Handle:
    """One connection to the engine, with the settings and the database that it is set to.

    chDB runs one statement at a time on a handle, and handles side by side. A statement that
    fails can leave output behind, which chDB hands to the *next* statement of the same handle
    (seen in 4.4): after an error or an abandoned stream a handle is `tainted`, and must be
    drained or closed before anybody else gets it.
    """

    connection: Any
    database: str | None = "default"
    home: str | None = "default"
    settings: dict[str, str] = field(default_factory=dict)
    last_used: float = 0.0
    timeout: float = 60.0
    busy: bool = False
    tainted: bool = False

    def configure(self, database: str | None, settings: Mapping[str, str]) -> None:
        """Make the handle match a request, with as few statements as possible."""
        wanted = database or self.home
        if wanted is not None and wanted != self.database:
            self._do(f"USE {_quote(wanted, '`')}")
            self.database = wanted
        for name in self.settings.keys() - settings.keys():
            self._do(f"SET {name} = DEFAULT")
            del self.settings[name]
        for name, value in settings.items():
            if self.settings.get(name) != value:
                if not _NAME.match(name):
                    raise ClickHouseError(BAD_ARGUMENTS, f"{name!r} is not a setting's name")
                self._do(f"SET {name} = {_quote(value, chr(39))}")
                self.settings[name] = value

    def drain(self) -> None:
        """Throw away what a failed statement left behind."""
        for _ in range(5):
            with suppress(Exception):
                if self.connection.query("SELECT 1", "TabSeparated").bytes() == b"1\n":
                    self.tainted = False
                    return

    def _do(self, statement: str) -> None:
        try:
            self.connection.query(statement, "Null")
        except Exception as error:
            self.tainted = True
            raise from_engine(error) from error


def _quote(text: str, mark: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, "\\" + mark)
    return f"{mark}{escaped}{mark}"


@contextmanager
def _engine_errors(handle: Handle) -> Iterator[None]:
    try:
        yield
    except ClickHouseError:
        handle.tainted = True
        raise
    except Exception as error:
        handle.tainted = True
        raise from_engine(error) from error


def run(handle: Handle, statement: bytes, form: str, parameters: Mapping[str, str]) -> Any:
    """Run a statement to its end and return chDB's result; `form` counts where it names none."""
    try:
        text: str | bytes = statement.decode()
    except UnicodeDecodeError:
        text = statement
    with _engine_errors(handle):
        return handle.connection.query(text, form, params=dict(parameters))


def stream(
    handle: Handle, statement: bytes, form: str, parameters: Mapping[str, str]
) -> Generator[bytes, None, None]:
    """Run a query and yield its result block by block; the handle is busy until it is closed."""
    with _engine_errors(handle):
        result = handle.connection.send_query(statement.decode(), form, params=dict(parameters))
        handle.tainted = True  # Until the last block is read.
        try:
            for block in result:
                yield block.bytes()
            handle.tainted = False
        finally:
            with suppress(Exception):
                result.close()


def insert(handle: Handle, head: str, form: str, data: Iterable[bytes]) -> Any:
    """Insert encoded rows; memory stays bounded however many there are."""
    with _engine_errors(handle):
        inserter = handle.connection.send_insert(head, form)
        try:
            for piece in data:
                inserter.append(piece)
            return inserter.finish()
        finally:
            with suppress(Exception):
                inserter.cancel()  # Does nothing after `finish`.
