"""The chDB engine: hands out connections to parallel requests and keeps those of sessions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chdb.state.sqlitelike import Connection

from neo_polystore.embedded.clickhouse_errors import SESSION_IS_LOCKED, ClickHouseError
from neo_polystore.embedded.clickhouse_handle import Handle
from neo_polystore.embedded.clickhouse_statement import changes_session

MAX_SESSIONS = 1000


@dataclass(frozen=True)
class Context:
    """What a request says about the connection that it wants to run on."""

    database: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    session: str | None = None
    session_timeout: float = 60.0
    session_must_exist: bool = False


class Engine:
    """The one engine of this process. Thread-safe; every method blocks."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._guard = threading.Lock()
        self._idle: list[Handle] = []
        self._sessions: dict[str, Handle] = {}
        first = self._open()
        answer = first.connection.query("SELECT version(), timezone()", "TabSeparated")
        self.version, self.timezone = answer.bytes().decode().rstrip("\n").split("\t")
        self._idle.append(first)

    def _open(self) -> Handle:
        return Handle(Connection(self._path))

    @contextmanager
    def handle(self, context: Context, statement: bytes) -> Iterator[Handle]:
        """A handle of one's own, set up for the request."""
        if context.session is not None:
            yield from self._session(context, statement)
            return
        with self._guard:
            handle = self._idle.pop() if self._idle else None
        if handle is None:
            handle = self._open()
        try:
            handle.configure(context.database, context.settings)
            yield handle
        except BaseException:
            handle.tainted = True
            raise
        finally:
            if handle.tainted or changes_session(statement):
                handle.connection.close()
            else:
                with self._guard:
                    self._idle.append(handle)

    def _session(self, context: Context, statement: bytes) -> Iterator[Handle]:
        handle = self._take_session(context)
        try:
            handle.configure(context.database, context.settings)
            yield handle
        finally:
            if handle.tainted:
                handle.drain()
            if handle.tainted:
                self._forget(context.session)
            elif changes_session(statement):
                # Wherever USE went is this session's home now; None means: leave it there.
                handle.database = handle.home = None
            handle.last_used = time.monotonic()
            handle.busy = False

    def _forget(self, session: str | None) -> None:
        with self._guard:
            self._sessions.pop(session or "").connection.close()

    def _take_session(self, context: Context) -> Handle:
        name = context.session or ""
        with self._guard:
            self._expire_sessions()
            handle = self._sessions.get(name)
            if handle is None:
                if context.session_must_exist:
                    raise ClickHouseError(372, f"Session {name} not found. (SESSION_NOT_FOUND)")
                handle = self._sessions[name] = self._open()
            if handle.busy:
                raise ClickHouseError(
                    SESSION_IS_LOCKED,
                    f"Session {name} is locked by a concurrent client. (SESSION_IS_LOCKED)",
                )
            handle.busy, handle.timeout = True, context.session_timeout
            return handle

    def _expire_sessions(self) -> None:
        now = time.monotonic()
        resting = sorted(
            ((one.last_used, name) for name, one in self._sessions.items() if not one.busy)
        )
        spare = len(self._sessions) - MAX_SESSIONS
        for number, (last_used, name) in enumerate(resting):
            if now - last_used > self._sessions[name].timeout or number < spare:
                self._sessions.pop(name).connection.close()

    def close(self) -> None:
        """Close what is idle; with the last handle the engine itself closes."""
        with self._guard:
            handles = [*self._idle, *self._sessions.values()]
            self._idle, self._sessions = [], {}
        for handle in handles:
            handle.connection.close()
