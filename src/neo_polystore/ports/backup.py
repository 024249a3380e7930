"""What an engine offers so that it can be backed up and restored: streams of bytes, by name.

A backup takes a snapshot of each store and reads its streams; a restore writes the same streams
into an empty store. What a stream looks like is the engine's affair. Read twice from stores that
hold the same, a stream is the same to the byte: that is how a restore is proven.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Phase = Literal["follows", "leads", "content"]
"""In which order snapshots are taken, so that what refers to something is never newer than it.

`follows`: holds records that refer to rows of the relational store, or derive from them; first.
`leads`: the relational store; what the others refer to was there before. `content`: bytes that
rows refer to, stored before the row was; last.
"""


@dataclass(frozen=True, slots=True)
class BackupScope:
    """What of a store is meant; `schema` names one schema of a database."""

    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a snapshot. `size` is an estimate in bytes, for the progress bar.

    `exact` says whether the same content always gives the same bytes.
    """

    name: str
    size: int = 0
    exact: bool = True


class Snapshot(Protocol):
    """One moment of a store, for as long as its context is open.

    `positions` are facts about that moment (an LSN, the last event); `excluded` names parts of
    the store that the snapshot leaves out, each with the reason. `held` says that the moment is
    that of the snapshot; otherwise it is that of reading, and nothing newer may be read before.
    """

    positions: Mapping[str, Any]
    excluded: Mapping[str, str]
    held: bool

    def streams(self) -> Sequence[Stream]:
        """Everything there is to read, in the order in which a restore wants it."""

    def read(self, name: str) -> AsyncIterator[bytes]:
        """The content of a stream, in pieces of any size. Several may be read at once."""

    def rows(self, name: str) -> int | None:
        """How many rows (documents, keys, objects) were in the stream that was read to its end.

        None for a stream that holds no rows.
        """


class Saved(Protocol):
    """The streams of one store in a backup; whatever is read from them has been verified.

    `before` are the facts from before all snapshots; none where a store is restored as it was.
    """

    before: Mapping[str, Any]

    @property
    def names(self) -> Sequence[str]:
        """The names of the streams, as the snapshot listed them."""

    @property
    def positions(self) -> Mapping[str, Any]:
        """The snapshot's positions."""

    def rows(self, name: str) -> int | None:
        """How many rows a stream holds."""

    def read(self, name: str) -> AsyncIterator[bytes]:
        """The content; IntegrityError before a wrong byte is handed out."""


class Backing(Protocol):
    """Backs up and restores one store. Constructors do no I/O; needs no connected store.

    `place` tells whether two stores live in the same database: it is then backed up once, and
    `home` is the schema there that is this store's own.
    """

    phase: Phase
    home: str | None

    @property
    def place(self) -> str:
        """Where the data are, without secrets."""

    def before(self) -> AbstractAsyncContextManager[Mapping[str, Any]]:
        """Facts from before the first snapshot of any store, held valid until the last one."""

    def snapshot(self, scope: BackupScope) -> AbstractAsyncContextManager[Snapshot]:
        """Hold one moment of the store. UnsupportedError with the reason where it cannot."""

    async def occupied(self, scope: BackupScope) -> str | None:
        """What stands in the way of a restore, in words; None where the target is empty."""

    async def clear(self, scope: BackupScope) -> None:
        """Remove everything that a restore would write. ConflictError where somebody uses it."""

    async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
        """Write every stream into the empty store; how many rows each table then has.

        What fails leaves something half-done, which `clear` removes.
        """


@runtime_checkable
class Demanding(Protocol):
    """A backing whose restore needs more than an empty target."""

    async def check(self, saved: Saved, scope: BackupScope) -> None:
        """ConfigError for what is lacking, before anything is touched."""


@runtime_checkable
class Backed(Protocol):
    """A store that can be backed up."""

    @property
    def backing(self) -> Backing:
        """How."""
