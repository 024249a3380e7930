"""Sealed items with their heads in PostgreSQL, each seen by its own owner only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg

from neo_polystore.errors import ConflictError, NotFoundError
from neo_polystore.ids import uuid7
from neo_polystore.pgkit.database import Database
from neo_polystore.ports.sealing import Found, Items, SealedItems, Survey
from neo_polystore.records.scope import Scope
from neo_polystore.records.sealing import (
    Binding,
    Head,
    Identity,
    Owner,
    ServiceOwner,
    UserOwner,
)
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.stores.postgres import sealing_sql as sql
from neo_polystore.stores.postgres.background import Background
from neo_polystore.stores.postgres.sealing_keys import STATES
from neo_polystore.stores.postgres.unit_of_work import UnitOfWork, unit_of_work

_NAME = "sealing"


class PgItems:
    """See `ports.sealing.Items`."""

    def __init__(self, work: UnitOfWork, owner: Owner):
        self._work = work
        self._owner = owner
        user = isinstance(owner, UserOwner)
        self._sql = sql.USER if user else sql.SERVICE
        self._who = str(owner).partition(":")[2]
        self._tenant = owner.tenant if isinstance(owner, UserOwner) else None

    @property
    def work(self) -> UnitOfWork:
        """The transaction."""
        return self._work

    async def fetch(self, data_keys: Sequence[str], *, blobs: bool = True) -> dict[str, Found]:
        """One statement."""
        text = self._sql.fetch if blobs else self._sql.fetch_facts
        async with self._work.connection("sealing.fetch") as connection:
            rows = await connection.fetch(text, str(self._owner), self._who, list(data_keys))
        return {row["wanted"]: _found(row, self._owner) for row in rows}

    async def put(
        self,
        heads: Sequence[Head],
        blobs: Sequence[bytes | memoryview] | None,
        *,
        same_versions: bool = False,
    ) -> bool:
        """One statement. All of it or, with the whole transaction, nothing."""
        text = self._sql.put_staged if blobs is None else self._sql.put
        shapes: dict[tuple[Any, ...], int] = {}
        places = [shapes.setdefault(_shape(head), len(shapes) + 1) for head in heads]
        *facts, expiries = zip(*shapes, strict=True)
        async with self._work.connection("sealing.put") as connection:
            row = await connection.fetchrow(
                text,
                heads[0].key_id,
                str(self._owner),
                self._who,
                [uuid7() for _ in heads],
                [head.binding.data_key for head in heads],
                [None] if blobs is None else blobs,
                [head.mac for head in heads],
                [head.binding.version for head in heads],
                [head.generation for head in heads],
                [head.size for head in heads],
                [head.written_at for head in heads],
                places,
                *facts,
                self._tenant,
                0 if same_versions else 1,
                expiries,
            )
        if row is None or not row["usable"]:
            return False
        if row["written"] != len(heads):
            raise _changed()
        return True

    async def stage(self, parts: Iterable[bytes]) -> None:
        """COPY into a table of this transaction, a row for each part."""
        async with self._work.connection("sealing.stage") as connection:
            await connection.execute(sql.STAGE)
            await connection.copy_records_to_table(sql.STAGED, records=enumerate(parts))

    async def slices(
        self, head: Head, places: Sequence[tuple[int, int]]
    ) -> tuple[list[bytes], int]:
        """One statement. The column is stored outside the row and uncompressed, so the server
        reads no more of it than what is asked for."""
        arguments = (self._who, head.binding.data_key, head.mac.hex(), *zip(*places, strict=True))
        async with self._work.connection("sealing.slices") as connection:
            row = await connection.fetchrow(self._sql.slices, *arguments)
        if row is None:
            raise _changed()
        return row["parts"], row["length"]

    async def delete(self, head: Head) -> None:
        """One statement; a trigger marks the head."""
        arguments = (str(self._owner), self._who, head.binding.data_key, head.generation)
        async with self._work.connection("sealing.delete") as connection:
            if not await connection.fetchval(self._sql.delete, *arguments):
                raise _changed()

    async def list(
        self,
        *,
        after: str = "",
        limit: int = 100,
        prefix: str = "",
        key_id: str | None = None,
    ) -> Sequence[Head]:
        """One statement."""
        arguments = (str(self._owner), self._who, after, prefix, limit, key_id)
        async with self._work.connection("sealing.list") as connection:
            rows = await connection.fetch(self._sql.list, *arguments)
        return [_head(row, self._owner) for row in rows]


class PgSealedItems:
    """See `ports.sealing.SealedItems`."""

    def __init__(self, database: Database, background: Background):
        self._database = database
        self._background = background

    @asynccontextmanager
    async def begin(self, owner: Owner, scope: Scope) -> AsyncIterator[Items]:
        """A unit of work."""
        async with unit_of_work(self._database, scope, name=_NAME) as work:
            yield PgItems(work, owner)

    async def policies(self) -> Sequence[SealingPolicy]:
        """One statement."""
        return await self._policies(None)

    async def policy(self, name: str) -> SealingPolicy:
        """One statement."""
        found = await self._policies(name)
        if not found:
            raise NotFoundError(f"no sealing policy {name!r}", store=self._database.store)
        return found[0]

    async def put_policy(self, policy: SealingPolicy, scope: Scope) -> None:
        """One statement."""
        fields = policy.model_dump()
        fields["allowed_enclaves"] = sorted(policy.allowed_enclaves)
        async with self._database.statement("sealing.put_policy", scope) as connection:
            if not await connection.fetchval(sql.PUT_POLICY, *fields.values()):
                raise ConflictError(f"the sealing policy {policy.name!r} is of another type")

    async def owners(self, key_id: str) -> Mapping[Owner, int]:
        """One statement."""
        async with self._background.acquire("sealing.owners") as connection:
            rows = await connection.fetch(sql.OWNERS, key_id)
        return {_owner(row["owner"], row["tenant_id"]): row["items"] for row in rows}

    async def survey(self) -> Sequence[Survey]:
        """One statement, and the keys' states."""
        async with self._background.acquire("sealing.survey") as connection:
            rows = await connection.fetch(sql.SURVEY)
        async with self._database.acquire("sealing.survey") as connection:
            keys = await connection.fetch("SELECT key_alias, status FROM keymanagement.keys")
        states = {row["key_alias"]: STATES[row["status"]] for row in keys}
        return [Survey(key_state=states[row["key_id"]], **dict(row)) for row in rows]

    async def _policies(self, name: str | None) -> list[SealingPolicy]:
        async with self._database.acquire("sealing.policies") as connection:
            rows = await connection.fetch(sql.POLICIES, name)
        return [SealingPolicy(**dict(row)) for row in rows]


def _owner(text: str, tenant: UUID | None) -> Owner:
    who = text.partition(":")[2]
    return ServiceOwner(who) if tenant is None else UserOwner(tenant, UUID(who))


def _shape(head: Head) -> tuple[Any, ...]:
    identity = head.binding.identity
    return (
        head.binding.enclave,
        identity.policy,
        bytes.fromhex(identity.measurement) if identity.measurement else None,
        identity.product_id,
        identity.svn_floor,
        identity.label,
        head.binding.policy_name,
        head.attestation,
        head.expires_at,
    )


def _found(row: asyncpg.Record, owner: Owner) -> Found:
    status = row["key_status"]
    return Found(
        head=None if row["owner"] is None else _head(row, owner),
        key_state=None if status is None else STATES[status],
        version=row["row_version"],
        mac=row["row_mac"],
        enclave=row["row_enclave"],
        blob=row["blob"],
    )


def _head(row: asyncpg.Record, owner: Owner) -> Head:
    return Head(
        binding=Binding(
            owner=owner,
            data_key=row["data_key"],
            enclave=row["enclave_id"],
            identity=_identity(
                row["policy"],
                row["measurement"],
                row["product_id"],
                row["svn_floor"],
                row["label"],
            ),
            version=row["version"],
            policy_name=row["policy_name"],
        ),
        mac=row["mac"],
        key_id=row["key_id"],
        generation=row["generation"],
        size=row["size_bytes"],
        sealed_at=row["sealed_at"],
        written_at=row["written_at"],
        expires_at=row["expires_at"],
        deleted_at=row["deleted_at"],
        attestation=row["attestation_id"],
    )


@lru_cache(1024)
def _identity(
    policy: str,
    measurement: bytes | None,
    product_id: int | None,
    svn_floor: int | None,
    label: str | None,
) -> Identity:
    """One object for the many items of one identity."""
    fields: dict[str, Any] = {
        "policy": policy,
        "measurement": None if measurement is None else measurement.hex(),
        "product_id": product_id,
        "svn_floor": svn_floor,
        "label": label,
    }
    return Identity.of(**fields)


def _changed() -> ConflictError:
    return ConflictError("somebody else has changed the item: read it again", operation="sealing")


_: type[SealedItems] = PgSealedItems
