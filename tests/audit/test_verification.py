"""What `verify` finds: every change of a stored entry or link, and nothing where all is well."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from neo_polystore.audit.digest import digest_of
from neo_polystore.audit.linking import link_missing
from neo_polystore.audit.trail import AuditTrail
from neo_polystore.audit.verification import DayVerdict
from neo_polystore.records.catalog import record_type
from tests.audit.conftest import Place

LINKS, HEADS = "audit.chain_links", "audit.chain_heads"


async def days(trail: AuditTrail) -> list[DayVerdict]:
    return [verdict async for verdict in trail.verify()]


async def kinds(trail: AuditTrail) -> list[str]:
    return sorted(finding.kind for day in await days(trail) for finding in day.findings)


async def entries(trail: AuditTrail, count: int = 5) -> list[str]:
    return [
        (await trail.record("UPDATE", "wallet", str(n), after={"n": n, "x": 0.5, "at": when()})).id
        for n in range(count)
    ]


def when() -> datetime:
    return datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


async def test_an_untouched_trail_is_sound(trail: AuditTrail) -> None:
    await entries(trail)
    [day] = await days(trail)
    assert (day.is_sound, day.entries, day.links, day.waiting) == (True, 5, 5, 0)


async def test_a_trail_without_entries_has_no_days(trail: AuditTrail) -> None:
    assert await days(trail) == []


@pytest.mark.parametrize("place_of", [0, 2, 4])
async def test_a_changed_entry_is_found(place: Place, trail: AuditTrail, place_of: int) -> None:
    changed = (await entries(trail))[place_of]
    await place.administer(
        place.entries,
        """UPDATE documents.audit_logs
        SET body = jsonb_set(body, '{user_id}', '"somebody else"') WHERE _id = $1""",
        changed,
    )
    [day] = await days(trail)
    assert [(f.kind, f.entry) for f in day.findings] == [("changed", changed)]


@pytest.mark.parametrize("place_of", [0, 2, 4])
async def test_a_removed_entry_is_found(place: Place, trail: AuditTrail, place_of: int) -> None:
    removed = (await entries(trail))[place_of]
    await place.administer(
        place.entries, "DELETE FROM documents.audit_logs WHERE _id = $1", removed
    )
    [day] = await days(trail)
    assert [(f.kind, f.entry) for f in day.findings] == [("missing", removed)]


async def test_removing_every_entry_of_a_day_is_found(place: Place, trail: AuditTrail) -> None:
    for one in await entries(trail):
        await place.administer(
            place.entries, "DELETE FROM documents.audit_logs WHERE _id = $1", one
        )
    assert await kinds(trail) == ["missing"] * 5


async def test_an_entry_that_came_past_the_trail_is_found_once_it_is_old(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    old = datetime.now(UTC) - timedelta(hours=1)
    await place.primary.write([entry(tenant, old, "past")])
    assert await kinds(trail) == ["unlinked"]


async def test_an_entry_that_is_on_its_way_is_no_finding(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    await place.primary.write([entry(tenant, datetime.now(UTC), "young")])
    [day] = await days(trail)
    assert (day.is_sound, day.waiting) == (True, 1)


async def test_an_entry_without_a_link_gets_one_from_the_job(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    old = datetime.now(UTC) - timedelta(hours=1)
    await place.primary.write([entry(tenant, old, f"late-{n}") for n in range(3)])
    window = {"since": old - timedelta(minutes=1), "until": old + timedelta(minutes=1)}
    chains = place.store.chains
    assert (await link_missing(place.primary, chains, **window))[str(tenant)] == 3
    assert str(tenant) not in await link_missing(place.primary, chains, **window)
    assert await kinds(trail) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (f"DELETE FROM {LINKS} WHERE tenant_id = $1 AND seq = 3", {"broken", "unlinked"}),
        (f"UPDATE {LINKS} SET digest = sha256('x') WHERE tenant_id = $1 AND seq = 3", {"broken"}),
        (f"UPDATE {LINKS} SET hash = sha256('x') WHERE tenant_id = $1 AND seq = 3", {"broken"}),
        (f"DELETE FROM {LINKS} WHERE tenant_id = $1 AND seq = 5", {"cut", "unlinked"}),
        (f"UPDATE {HEADS} SET seq = 4 WHERE tenant_id = $1", {"cut"}),
        (f"DELETE FROM {HEADS} WHERE tenant_id = $1", {"cut"}),
    ],
)
async def test_a_forged_chain_is_found(
    place: Place,
    trail: AuditTrail,
    tenant: UUID,
    change: str,
    found: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("neo_polystore.audit.trail.GRACE", timedelta(0))
    await entries(trail)
    await place.administer(place.store.config, change, tenant)
    assert found <= set(await kinds(trail))


async def test_the_application_can_neither_change_nor_add_links(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    await entries(trail)
    async with place.store.unit_of_work(tenant=tenant) as work:
        for sql in (
            f"DELETE FROM {LINKS}",
            f"UPDATE {LINKS} SET seq = seq",
            f"INSERT INTO {LINKS} SELECT * FROM {LINKS}",
            f"UPDATE {HEADS} SET seq = 0",
        ):
            with pytest.raises(Exception, match="permission denied"):
                async with work.savepoint("attempt"), work._database.acquire("x") as connection:
                    await connection.execute(sql)


def entry(tenant: UUID, time: datetime, name: str):  # type: ignore[no-untyped-def]
    return record_type("audit_logs").parse(
        {
            "_id": f"{tenant}:{name}",
            "timestamp": time,
            "tenant_id": str(tenant),
            "user_id": "u",
            "action": "READ",
            "resource": "r",
        }
    )


def test_the_digest_is_that_of_the_documented_text(tenant: UUID) -> None:
    """SHA-256 of the JSON with sorted names and marked dates, computed here by hand."""
    import hashlib

    one = entry(tenant, when(), "é")
    text = json.dumps(
        {
            "_id": f"{tenant}:é",
            "action": "READ",
            "resource": "r",
            "tenant_id": str(tenant),
            "timestamp": {"$date": "2026-01-02T03:04:05.678Z"},
            "user_id": "u",
        },
        separators=(",", ":"),
        ensure_ascii=False,
    )
    assert digest_of(one) == hashlib.sha256(text.encode()).digest()
