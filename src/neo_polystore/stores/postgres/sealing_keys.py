"""The wrapped master keys in `keymanagement.keys`, one row each: `sealing:<number>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from neo_polystore.errors import ConflictError, NotFoundError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.keys import KeyStore, State, StoredKey
from neo_polystore.stores.postgres.background import Background

STATES: Final[dict[str, State]] = {
    "active": "active",
    "rotated": "retiring",
    "revoked": "destroyed",
    "destroyed": "destroyed",
}
"""The table's words for them."""

_COLUMNS = "key_alias, version, status, encrypted_key_material, created_at, rotated_at"
_OURS = "key_type = 'sealing'"
_ALL = f"SELECT {_COLUMNS} FROM keymanagement.keys WHERE {_OURS} ORDER BY version"
_ONE = f"SELECT {_COLUMNS} FROM keymanagement.keys WHERE {_OURS} AND key_alias = $1"
_ACTIVE = f"""
SELECT {_COLUMNS} FROM keymanagement.keys WHERE {_OURS} AND status = 'active'
ORDER BY version DESC LIMIT 1
"""
# Whoever seals holds the active key's row FOR SHARE until his commit, so this waits for him.
_RETIRE = f"""
UPDATE keymanagement.keys SET status = 'rotated', rotated_at = clock_timestamp()
WHERE {_OURS} AND status = 'active' AND version < $1
RETURNING version
"""
_ADD = """
INSERT INTO keymanagement.keys (key_alias, key_type, algorithm, encrypted_key_material, version)
VALUES ('sealing:' || $1::int, 'sealing', 'HKDF-SHA256+AES-256-GCM', $2, $1)
ON CONFLICT (key_alias) DO NOTHING RETURNING id
"""
_HISTORY = """
INSERT INTO keymanagement.key_rotations (key_id, from_version, to_version, reason)
VALUES ($1, $2, $3, $4)
"""
_REWRAP = f"""
UPDATE keymanagement.keys SET encrypted_key_material = $2
WHERE {_OURS} AND key_alias = $1 AND encrypted_key_material IS NOT NULL RETURNING 1
"""
_NEEDED = """
SELECT EXISTS (SELECT FROM enclave.sealed_heads WHERE key_id = $1 AND deleted_at IS NULL)
"""
_DESTROY = f"""
UPDATE keymanagement.keys SET status = 'destroyed', encrypted_key_material = NULL
WHERE {_OURS} AND key_alias = $1 AND status = 'rotated' RETURNING 1
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('keymanagement.keys: sealing'))"


class PgKeyStore:
    """See `ports.keys`. `background` sees every owner's heads."""

    def __init__(self, database: Database, background: Background):
        self._database = database
        self._background = background

    async def all(self) -> Sequence[StoredKey]:
        """One statement."""
        async with self._database.acquire("sealing_keys.all") as connection:
            return [_key(row) for row in await connection.fetch(_ALL)]

    async def get(self, key_id: str) -> StoredKey:
        """One statement."""
        async with self._database.acquire("sealing_keys.get") as connection:
            row = await connection.fetchrow(_ONE, key_id)
        if row is None:
            raise NotFoundError(f"no master key {key_id!r}", store=self._database.store)
        return _key(row)

    async def active(self) -> StoredKey | None:
        """One statement."""
        async with self._database.acquire("sealing_keys.active") as connection:
            row = await connection.fetchrow(_ACTIVE)
        return None if row is None else _key(row)

    async def succeed(self, number: int, wrapped: bytes, *, reason: str) -> StoredKey:
        """One transaction; of several at once the first wins and all get its key."""
        async with self._database.transaction("sealing_keys.succeed") as connection:
            await connection.execute(_LOCK)
            added = await connection.fetchval(_ADD, number, wrapped)
            if added is not None:
                await self._retire(connection, added, number, reason)
            row = await connection.fetchrow(_ACTIVE)
        if row is None:
            raise NotFoundError("no master key is active", store=self._database.store)
        return _key(row)

    async def _retire(self, connection: Connection, key: object, number: int, reason: str) -> None:
        for row in await connection.fetch(_RETIRE, number):
            await connection.execute(_HISTORY, key, row["version"], number, reason)

    async def rewrap(self, key_id: str, wrapped: bytes) -> None:
        """One statement."""
        async with self._database.acquire("sealing_keys.rewrap") as connection:
            if not await connection.fetchval(_REWRAP, key_id, wrapped):
                raise NotFoundError(f"no master key {key_id!r} with material")

    async def destroy(self, key_id: str) -> None:
        """Nobody can seal under a retiring key, so what is not needed now never will be again."""
        async with self._background.acquire("sealing_keys.needed") as connection:
            needed = await connection.fetchval(_NEEDED, key_id)
        if needed:
            raise ConflictError(f"items are still sealed under {key_id}: rotate first")
        async with self._database.acquire("sealing_keys.destroy") as connection:
            if not await connection.fetchval(_DESTROY, key_id):
                raise ConflictError(f"{key_id} is not a retiring key")


def _key(row: asyncpg.Record) -> StoredKey:
    return StoredKey(
        id=row["key_alias"],
        number=row["version"],
        state=STATES[row["status"]],
        wrapped=row["encrypted_key_material"],
        created_at=row["created_at"],
        retired_at=row["rotated_at"],
    )


_: type[KeyStore] = PgKeyStore
