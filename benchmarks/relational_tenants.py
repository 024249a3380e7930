"""`relational`, tenancy: a unit of work under row-level security, and without."""

from __future__ import annotations

import time
from uuid import UUID

from benchmarks.relational_bench import RUNS, Bench
from benchmarks.routing import CHAIN
from neo_polystore.ids import uuid7
from neo_polystore.ports.relational import UnitOfWork
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.query import Query
from neo_polystore.records.scope import Scope
from neo_polystore.records.wallets import Wallet

TENANTS = 20
WALLETS = 200
UNITS = 200


async def run(bench: Bench) -> None:
    """The same unit of work with the tenant set, and with row-level security switched off."""
    owners = [await _tenant(bench) for _ in range(TENANTS)]
    await bench.analyze()

    async def ours() -> float:
        await _secure(bench, True)
        return await _units(bench, owners, scoped=True)

    async def reference() -> float:
        await _secure(bench, False)
        return await _units(bench, owners, scoped=False)

    try:
        await bench.report.compare(
            "tenant_overhead",
            ours=ours,
            reference=reference,
            reference_is="the same statements, no tenant set, row-level security disabled",
            unit="microseconds",
            lower_is_better=True,
            runs=RUNS,
        )
    finally:
        await _secure(bench, True)


async def _tenant(bench: Bench) -> tuple[UUID, list[Wallet]]:
    tenant = Tenant(name="Tenant", identifier=f"t-{uuid7().hex}")
    user = User(email=f"{tenant.id.hex}@example.org", username=tenant.id.hex)
    accounts = bench.polystore.accounts
    await accounts.create_tenant(tenant)
    await accounts.within(Scope(tenant=tenant.id)).write([user])
    wallets = [
        Wallet(chain_id=CHAIN, address="0x" + uuid7().hex + "0" * 8, owner=user.id)
        for _ in range(WALLETS)
    ]
    await bench.polystore.wallets.within(Scope(tenant=tenant.id)).write(wallets)
    return tenant.id, wallets


async def _secure(bench: Bench, on: bool) -> None:
    verb = "ENABLE" if on else "DISABLE"
    await bench.owner.execute(f"ALTER TABLE blockchain.wallets {verb} ROW LEVEL SECURITY")


async def _units(bench: Bench, owners: list[tuple[UUID, list[Wallet]]], *, scoped: bool) -> float:
    async def unit(number: int) -> None:
        tenant, wallets = owners[number % len(owners)]
        async with bench.polystore.unit_of_work(tenant=tenant if scoped else None) as work:
            await _statements(work, wallets, number)

    for number in range(20):  # plans are made anew after the switch
        await unit(number)
    started = time.perf_counter()
    for number in range(UNITS):
        await unit(number)
    return (time.perf_counter() - started) / UNITS * 1e6


async def _statements(work: UnitOfWork, wallets: list[Wallet], number: int) -> None:
    repository = work.repository(Wallet)
    for step in range(3):
        await repository.get(wallets[(number + step) % len(wallets)].key)
    page = await repository.find(Query(limit=20).where("owner", wallets[0].owner))
    if len(page) != 20:
        raise RuntimeError("wallets of the owner are missing")
    await repository.count(Query().where("owner", wallets[0].owner))
