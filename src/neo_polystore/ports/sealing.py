"""Where sealed items live with their heads, and what surveys all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from neo_polystore.ports.attestations import Attestations
from neo_polystore.ports.keys import KeyStore, State
from neo_polystore.ports.relational import UnitOfWork
from neo_polystore.ports.sealed import ServiceBlobs
from neo_polystore.records.scope import Scope
from neo_polystore.records.sealing import Head, Owner
from neo_polystore.records.sealing_policies import SealingPolicy


@dataclass(frozen=True, slots=True)
class Found:
    """A stored item: its head where one was written, and its row where there is one."""

    head: Head | None
    key_state: State | None
    version: int | None
    mac: str | None
    enclave: str | None
    blob: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Survey:
    """How many items, and bytes, are sealed under a key and policy; since when."""

    key_id: str
    key_state: State
    policy: str
    svn_floor: int | None
    policy_name: str
    items: int
    bytes: int
    oldest: datetime


class Items(Protocol):
    """The items of one owner, in one transaction."""

    @property
    def work(self) -> UnitOfWork:
        """The transaction, for what has to be committed with it."""

    async def fetch(self, data_keys: Sequence[str], *, blobs: bool = True) -> dict[str, Found]:
        """What is stored under each of these keys, also where that is nothing."""

    async def put(
        self,
        heads: Sequence[Head],
        blobs: Sequence[bytes | memoryview] | None,
        *,
        same_versions: bool = False,
    ) -> bool:
        """Store items with their heads, each as the next generation of what was fetched.

        Without `blobs` it is one item, whose blob was staged. They are the next versions too, or
        with `same_versions` the same ones sealed anew. All heads name one master key; False where
        that is not active any more, and then nothing is stored. ConflictError where somebody else
        has changed one of them.
        """

    async def stage(self, parts: Iterable[bytes]) -> None:
        """Send a blob part by part, for the `put` that follows; once in a transaction."""

    async def slices(
        self, head: Head, places: Sequence[tuple[int, int]]
    ) -> tuple[list[bytes], int]:
        """Parts of the blob with this MAC, each by its start and length, and the blob's length.

        ConflictError where another blob is stored by now.
        """

    async def delete(self, head: Head) -> None:
        """Delete an item; ConflictError where somebody else has changed it."""

    async def list(
        self,
        *,
        after: str = "",
        limit: int = 100,
        prefix: str = "",
        key_id: str | None = None,
    ) -> Sequence[Head]:
        """Heads of living items in the order of their keys."""


class SealedItems(Protocol):
    """Every owner's items. Nothing here opens a blob."""

    def begin(self, owner: Owner, scope: Scope) -> AbstractAsyncContextManager[Items]:
        """A transaction as this owner: row-level security shows no others' items."""

    async def policies(self) -> Sequence[SealingPolicy]:
        """The named policies."""

    async def policy(self, name: str) -> SealingPolicy:
        """One of them; NotFoundError."""

    async def put_policy(self, policy: SealingPolicy, scope: Scope) -> None:
        """Store a policy under its name. ConflictError where its type would change."""

    async def owners(self, key_id: str) -> Mapping[Owner, int]:
        """Who has items under a master key, and how many; as the role of background work."""

    async def survey(self) -> Sequence[Survey]:
        """All items by key, policy and SVN; as the role of background work."""


class SealingStore(Protocol):
    """A store with the feature `sealing`."""

    @property
    def sealed_items(self) -> SealedItems:
        """The items."""

    def service_blobs(self, retention: timedelta) -> ServiceBlobs:
        """Services' blobs from elsewhere, and how long those are kept that do not say it."""

    @property
    def attestations(self) -> Attestations:
        """The evidence."""

    @property
    def sealing_keys(self) -> KeyStore:
        """The wrapped master keys."""
