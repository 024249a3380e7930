"""Interleaved units of work of many tenants over few connections: what each of them saw."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from neo_polystore.errors import PolystoreError, TenantRequiredError
from neo_polystore.ids import uuid7
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.query import Query
from neo_polystore.records.scope import Scope
from neo_polystore.records.wallets import Wallet
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.postgres.unit_of_work import UnitOfWork
from tests.conformance.chains import CHAIN, address, load_network

# past the ports, whatever those add to a statement
SEEN = """
SELECT tenant_id FROM auth.users UNION SELECT tenant_id FROM blockchain.wallets
UNION SELECT tenant_id FROM auth.sessions UNION SELECT id FROM core.tenants
"""
LEFT = "SELECT NULLIF(current_setting('app.current_tenant', true), '')"

ENDS = ("raise", "refused", "broken", "cancel")
"""How a unit of work fails midway: an exception of the caller's, a refused record that he does not
catch, a statement that the server rejects, and a cancelled task."""


class Midway(Exception):  # noqa: N818
    """What a caller raises in the middle."""


@dataclass
class Storm:
    """Runs units of work through one store; what they saw that they should not is `foreign`."""

    store: PostgresStore
    seed: int
    tenants: list[UUID] = field(default_factory=list)
    kept: dict[UUID, set[UUID]] = field(default_factory=dict)
    unsure: dict[UUID, list[set[UUID]]] = field(default_factory=dict)
    foreign: list[tuple[UUID | None, UUID]] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    async def prepare(self, tenants: int) -> None:
        """Make tenants with a user each."""
        await load_network(self.store)
        for _ in range(tenants):
            tenant = Tenant(name="Storm", identifier=f"s-{uuid4().hex}")
            await self.store.port("accounts").create_tenant(tenant)
            first = _user()
            scoped = self.store.port("accounts").within(Scope(tenant=tenant.id))
            await scoped.write([first])
            self.tenants.append(tenant.id)
            self.kept[tenant.id] = {first.id}
            self.unsure[tenant.id] = []

    async def blow(self, units: int, *, at_once: int = 40) -> None:
        """Run that many units of work, a third of which fail midway, and some for no tenant."""
        numbers = iter(range(units))

        async def worker() -> None:
            for number in numbers:
                choice = random.Random(f"{self.seed}:{number}")
                if choice.random() < 0.05:
                    await self._nobody()
                    continue
                tenant = choice.choice(self.tenants)
                end = choice.choice(ENDS) if choice.random() < 1 / 3 else "commit"
                await self._unit(tenant, end, choice)
                self.ends[end] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())

    async def _unit(self, tenant: UUID, end: str, choice: random.Random) -> None:
        made = [_user() for _ in range(choice.randint(1, 3))]
        task = asyncio.create_task(self._work(tenant, end, made, choice))
        if end == "cancel":
            await asyncio.sleep(choice.random() * 0.02)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            # may have come in the middle of the commit
            self.unsure[tenant].append({user.id for user in made})
        except (Midway, PolystoreError):
            if end == "commit":
                raise
        else:
            self.kept[tenant] |= {user.id for user in made}

    async def _work(self, tenant: UUID, end: str, made: list[User], choice: random.Random) -> None:
        async with self.store.unit_of_work(tenant=tenant) as uow:
            users = uow.repository(User)
            await users.add_all(made)
            if choice.random() < 0.5:
                await uow.repository(Wallet).add(
                    Wallet(chain_id=CHAIN, address=address(), owner=made[0].id)
                )
            await asyncio.sleep(0)
            await self._look(uow, tenant)
            if end == "raise":
                raise Midway
            if end == "refused":
                await users.add(_user().model_copy(update={"email": made[0].email}))
            if end == "broken":
                await _execute(uow, "SELECT 1 / 0")
            if end == "cancel":
                await _execute(uow, "SELECT pg_sleep(0.03)")
            ids = {user.id for user in await users.find(Query(limit=10_000))}
            if not ids >= {user.id for user in made}:
                raise AssertionError("a unit of work does not see what it wrote")

    async def _look(self, uow: UnitOfWork, tenant: UUID | None) -> None:
        for (seen,) in await _execute(uow, SEEN):
            if seen != tenant:
                self.foreign.append((tenant, seen))

    async def _nobody(self) -> None:
        async with self.store.unit_of_work() as uow:
            await self._look(uow, None)
            try:
                await uow.repository(User).add(_user())
            except TenantRequiredError:
                self.ends["nobody"] += 1

    async def settled(self, tenant: UUID) -> bool:
        """Whether a tenant has all that was committed for it, and nothing else."""
        async with self.store.unit_of_work(tenant=tenant) as uow:
            stored = {user.id async for user in uow.repository(User).each(Query(limit=1000))}
        wanted = set(self.kept[tenant])
        for made in self.unsure[tenant]:
            wanted |= made if made & stored else set()
        return stored == wanted

    async def left_behind(self, connections: int) -> list[Any]:
        """What is still set on the connections of the pool, all taken at once."""
        held = asyncio.Barrier(connections)

        async def look() -> Any:
            async with self.store._database.acquire("test") as connection:
                await held.wait()
                seen = await connection.fetch(SEEN)
                return (await connection.fetchval(LEFT), *seen)

        found = await asyncio.gather(*(look() for _ in range(connections)))
        return [what for what in found if what != (None,)]


async def _execute(uow: UnitOfWork, sql: str) -> list[Any]:
    async with uow._database.acquire("test") as connection:
        return await connection.fetch(sql)


def _user() -> User:
    name = uuid4().hex
    return User(id=uuid7(), email=f"{name}@example.org", username=name)
