"""Relational work: several records of several data types, committed together or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal, Protocol, TypeVar
from uuid import UUID

from neo_polystore.ports.audit import Chains
from neo_polystore.ports.holds import Holds
from neo_polystore.ports.outbox import Feed, Outbox, OutboxAdmin
from neo_polystore.ports.scheduling import Ledger, Upkeep
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import Scope

R = TypeVar("R", bound=Record)
M = TypeVar("M")
T = TypeVar("T")

Isolation = Literal["read_committed", "repeatable_read", "serializable"]


class Repository(Protocol[R]):
    """The records of one model inside a unit of work; nothing is durable before that commits.

    A refused call leaves the work as it was before that call. Deleting marks what the schema
    keeps (`deleted_at`) and removes the rest; either way no method shows the record again.
    """

    async def get(self, key: str) -> R:
        """The record with this key; raises NotFoundError."""

    async def get_all(self, keys: Sequence[str]) -> dict[str, R]:
        """The records with these keys, by key; those that are not stored are left out."""

    async def find(self, query: Query) -> Page[R]:
        """One page of the records that satisfy the query.

        Following `Page.next` visits every record that was there from the start exactly once,
        whatever is written meanwhile.
        """

    async def first(self, query: Query) -> R | None:
        """The first record that satisfies the query, None where none does."""

    def each(self, query: Query) -> AsyncIterator[R]:
        """All records that satisfy the query, read in pages of its limit."""

    async def project(self, query: Query, model: type[M]) -> Page[M]:
        """One page of the query in `model`, whose fields alone are read.

        `model` is a pydantic model or dataclass with some of the record's fields;
        UsageError where it has others, or of other types.
        """

    async def count(self, query: Query) -> int:
        """How many records satisfy the query's conditions."""

    async def exists(self, which: str | Query) -> bool:
        """Whether there is a record with this key, or one that satisfies this query."""

    async def add(self, record: R) -> None:
        """Store a new record; ConflictError where the key is taken, ValidationError if refused."""

    async def update(self, record: R, *, expected: R | None = None) -> None:
        """Replace a stored record; NotFoundError where there is none.

        `expected` is the record as it was read, in whichever unit of work: ConflictError where
        it has been changed since. Without it the last writer wins. UnsupportedError where the
        stored one is another and this data type is immutable.
        """

    async def upsert(self, record: R) -> Literal["new", "existing", "replaced"]:
        """Store a record whether its key is taken or not; what it was. ValidationError if refused.

        An immutable record that is stored stays as it is.
        """

    async def delete(self, key: str, *, expected: R | None = None) -> None:
        """Delete one record; NotFoundError, or UnsupportedError where none is deleted.

        ConflictError where it is no longer as `expected`.
        """

    async def add_all(self, records: Sequence[R]) -> Written:
        """Store those whose key is not stored yet, counting what happened to each.

        What is stored stays as it is: `existing` where it equals the record or the data type is
        immutable, rejected where it does not.
        """

    async def update_all(self, records: Sequence[R]) -> Written:
        """Replace those whose key is stored; the others are rejected. Counts each."""

    async def upsert_all(self, records: Sequence[R]) -> Written:
        """Store all of them, counting what happened to each; refused ones are answered."""


class UnitOfWork(Protocol):
    """Work that is committed together at the end of `async with`, or not at all.

    One task uses it at a time: UsageError for another one meanwhile. A refused write leaves the
    work as it was before that write, and the work may go on.
    """

    @property
    def scope(self) -> Scope:
        """On whose behalf this is."""

    @property
    def is_open(self) -> bool:
        """Whether its block has not ended yet."""

    def repository(self, model: type[R]) -> Repository[R]:
        """The records of one model within this transaction; UsageError for a foreign model."""

    def port(self, data_type: str) -> Any:
        """The port of a data type within this transaction; KeyError for an unknown one."""

    async def publish(self, topic: str, key: str, payload: Any) -> None:
        """Have a message delivered to `topic` if and only if this work is committed.

        Messages of a topic and key arrive in the order of commits, at least once each. Raises
        ValidationError for a payload that is no JSON.
        """

    async def publish_record(self, record: Record) -> None:
        """Have a record written to its own data type's store if this work is committed.

        Raises ValidationError or CorruptDataError as `records.payload.to_payload` does.
        """

    def savepoint(self, name: str) -> AbstractAsyncContextManager[None]:
        """A part that an exception undoes alone (and then goes on its way)."""

    async def rollback_to(self, name: str) -> None:
        """Undo what came after the savepoint of this name, which stays set."""


_current: ContextVar[UnitOfWork | None] = ContextVar("current_work", default=None)


def current_work() -> UnitOfWork | None:
    """The innermost unit of work in whose block the caller runs; None outside of any."""
    work = _current.get()
    return work if work is not None and work.is_open else None


@contextmanager
def working(work: UnitOfWork) -> Iterator[None]:
    """Make `work` the current one for the block."""
    outer = _current.get()
    _current.set(work)
    try:
        yield
    finally:
        _current.set(outer)


class Relational(Protocol):
    """A store with the feature `unit-of-work`."""

    def unit_of_work(
        self,
        *,
        tenant: UUID | None = None,
        service: str | None = None,
        user: str | None = None,
        isolation: Isolation | None = None,
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        """One transaction on behalf of a tenant and service; commits at the end of the block.

        `user` (an id, as text) is who does it: the actor in the log of changed rows, where
        without one the database's login stands. It is READ COMMITTED where no isolation is
        named. Raises ConflictError where it lost
        against a concurrent one and would have to be run again.
        """

    async def execute_in_transaction(
        self,
        name: str,
        work: Callable[[UnitOfWork], Awaitable[T]],
        *,
        tenant: UUID | None = None,
        service: str | None = None,
        user: str | None = None,
        isolation: Isolation | None = None,
    ) -> T:
        """The result of `work`, committed.

        `work` is run again, in a new unit of work and after a random pause, where it lost against
        a concurrent transaction (serialization failure, deadlock); the last loss is raised. So it
        must do nothing outside of its unit of work that cannot be done twice. `name` is the
        operation in logs and counters: lower-case words with dots, UsageError for anything else.
        """


class Operational(Protocol):
    """A store with the feature `outbox`: it holds what relay, scheduler and operators work with.

    The parts connect at their first use, as the role of background work; without such a role
    they raise ConfigError, and the rest of the store works all the same.
    """

    @property
    def outbox(self) -> Outbox:
        """Publishing messages outside of a unit of work."""

    @property
    def chains(self) -> Chains:
        """The chains of the audit trail."""

    @property
    def feed(self) -> Feed:
        """What the relay delivers from."""

    @property
    def outbox_admin(self) -> OutboxAdmin:
        """How the outbox stands, dead letters and replays."""

    @property
    def upkeep(self) -> Upkeep:
        """What has to be done regularly."""

    @property
    def holds(self) -> Holds:
        """Legal holds."""

    @property
    def ledger(self) -> Ledger:
        """The scheduler's books."""
