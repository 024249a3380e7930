"""Plans and applications over open stores: archived before they go, held, audited, resumable."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from neo_polystore.errors import (
    ConfigError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
    UsageError,
)
from neo_polystore.polystore import Polystore
from neo_polystore.records.query import Query
from neo_polystore.retention import parquet
from neo_polystore.retention.holding import Holding
from neo_polystore.retention.service import Retention
from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.store import FilesStore
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from tests.retention.conftest import entries
from tests.retention.drafts import draft
from tests.retention.facade import facade, rule


@pytest_asyncio.fixture(loop_scope="session")
async def platform(
    primary: PostgresStore, documents: JsonbStore, tmp_path: Path
) -> AsyncIterator[Polystore]:
    """Documents that are archived before they go, objects beside them; empty."""
    files = FilesStore(FilesConfig(directory=tmp_path / "objects"))
    await files.connect()
    await documents.clear()
    rules = {
        "audit_logs": rule("audit_logs", "jsonb", archive=True),
        "objects": rule("objects", "files"),
    }
    yield facade(rules, [primary, documents, files])


@pytest.fixture
def retention(platform: Polystore, primary: PostgresStore) -> Retention:
    """Retention over it."""
    return Retention(platform, primary.holds, holder="test")


@pytest.fixture
def holding(platform: Polystore, primary: PostgresStore, retention: Retention) -> Holding:
    """Its holds."""
    return Holding(platform, primary.holds, retention)


async def fill(platform: Polystore, count: int, **fields: Any) -> list[str]:
    """Old audit entries; their keys."""
    port = platform.documents("audit_logs")
    bodies = entries(count, **fields)
    assert (await port.write([port.record.parse(body) for body in bodies])).new == count
    return [body["_id"] for body in bodies]


async def stored(platform: Polystore) -> set[str]:
    """The keys of the entries that retention itself did not write."""
    page = await platform.documents("audit_logs").find(Query(limit=1000).where("user_id", "u"))
    return {record.key for record in page.records}


async def test_a_plan_counts_and_changes_nothing(platform: Polystore, retention: Retention) -> None:
    keys = await fill(platform, 5)
    [line] = await retention.plan(["audit_logs"])
    assert (line.rows, line.held, line.archive, line.problem) == (5, 0, True, False)
    assert line.oldest is not None
    assert line.before is not None
    assert line.oldest < line.before
    assert await stored(platform) == set(keys)


async def test_an_application_archives_deletes_and_leaves_an_entry(
    platform: Polystore, retention: Retention
) -> None:
    keys = await fill(platform, 7, changes={"at": {"before": 1, "after": [2.5, None]}})
    port = platform.documents("audit_logs")
    before = {key: (await port.get(key)).body() for key in keys}
    applied = await retention.apply(["audit_logs"], by="test")
    [done] = applied.done
    assert (done.outcome, done.deleted, done.archived, done.changed) == ("done", 7, 7, 0)
    assert await stored(platform) == set()
    [part] = await retention.archive.parts("audit_logs")
    assert (part.rows, part.run, part.name.startswith("audit_logs/")) == (7, applied.run, True)
    read = [r async for batch in retention.archive.records(part.name) for r in batch]
    assert {r.key: r.body() for r in read} == before  # type: ignore[attr-defined]
    page = await port.find(Query(limit=10).where("resource_id", applied.run))
    [entry] = page.records
    body: Any = entry.body()
    assert (body["action"], body["resource"], body["user_id"]) == ("DELETE", "retention", "test")
    assert body["data_types"]["audit_logs"]["deleted"] == 7
    again = await retention.apply(["audit_logs"], by="test")
    assert [each.outcome for each in again.done] == ["nothing"]


async def test_an_archive_is_loaded_back_and_each_record_once(
    platform: Polystore, retention: Retention
) -> None:
    keys = await fill(platform, 4)
    await retention.apply(["audit_logs"], by="test")
    [part] = await retention.archive.parts()
    assert (await retention.load(part.name)).new == 4
    assert (await retention.load(part.name)).existing == 4
    assert await stored(platform) == set(keys)


async def test_other_programs_read_typed_columns(platform: Polystore, retention: Retention) -> None:
    [key] = await fill(platform, 1, success=True)
    await retention.apply(["audit_logs"], by="test")
    [part] = await retention.archive.parts()
    content = (await platform.objects.get(f"archive/{part.name}")).content
    [row] = pq.read_table(io.BytesIO(content or b"")).to_pylist()
    assert (row["key"], row["user_id"], row["success"], row["resource_id"]) == (
        key,
        "u",
        True,
        None,
    )
    assert isinstance(row["timestamp"], datetime)


async def test_a_changed_archive_is_refused(platform: Polystore, retention: Retention) -> None:
    await fill(platform, 3)
    await retention.apply(["audit_logs"], by="test")
    [part] = await retention.archive.parts()
    record = await platform.objects.get(f"archive/{part.name}")
    content = bytearray(record.content or b"")
    content[len(content) // 2] ^= 1
    changed = record.model_copy(update={"content": bytes(content), "size": None, "sha256": None})
    await platform.objects.write([changed])
    with pytest.raises(IntegrityError, match="its manifest says"):
        await retention.load(part.name)
    with pytest.raises(NotFoundError, match="no archive"):
        await retention.load("audit_logs/none.parquet")


async def test_what_cannot_be_archived_does_not_go(
    platform: Polystore, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = await fill(platform, 3)

    def missing() -> None:
        raise ConfigError("no pyarrow")

    monkeypatch.setattr(parquet, "require", missing)
    [line] = await retention.plan(["audit_logs"])
    assert (line.problem, "cannot be archived" in line.note) == (True, True)
    [done] = (await retention.apply(["audit_logs"], by="test")).done
    assert (done.outcome, done.deleted) == ("blocked", 0)
    assert await stored(platform) == set(keys)


async def test_a_run_that_died_between_archive_and_deletion_is_completed(
    platform: Polystore, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = await fill(platform, 4)

    async def die(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Retention, "_drop", die)
        with pytest.raises(KeyboardInterrupt):
            await retention.apply(["audit_logs"], by="test")
    assert await stored(platform) == set(keys)
    [done] = (await retention.apply(["audit_logs"], by="test")).done
    assert (done.deleted, await stored(platform)) == (4, set())
    assert len(await retention.archive.parts()) == 2  # the first one is a copy, never a loss


async def test_held_records_stay_until_the_hold_is_released(
    platform: Polystore, retention: Retention, holding: Holding
) -> None:
    first, *_ = await fill(platform, 5)
    placed = await holding.add(draft("audit_logs", key=first))
    assert placed.covers == {"audit_logs": 1}
    assert placed.hold.in_force_at is not None
    [line] = await retention.plan(["audit_logs"])
    assert (line.rows, line.held, line.holds) == (4, 1, (placed.hold.id,))
    [done] = (await retention.apply(["audit_logs"], by="test")).done
    assert (done.deleted, done.held, await stored(platform)) == (4, 1, {first})
    await holding.release(placed.hold.id, by="test", reason="the case is closed")
    [done] = (await retention.apply(["audit_logs"], by="test")).done
    assert (done.deleted, await stored(platform)) == (1, set())
    actions = await platform.documents("audit_logs").distinct(
        Query().where("resource", "hold").where("resource_id", str(placed.hold.id)), "action"
    )
    assert actions == ["CREATE", "DELETE"]


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"conditions": ("resource=a",)}, 2),
        ({"conditions": ("resource=a", "success=true")}, 0),
        ({"words": "A"}, 2),
        ({"tenant": "018f0000-0000-7000-8000-000000000001"}, 3),
        ({}, 5),
    ],
)
async def test_a_hold_covers_what_satisfies_all_that_it_names(
    platform: Polystore,
    retention: Retention,
    holding: Holding,
    fields: dict[str, Any],
    kept: int,
) -> None:
    await fill(platform, 2, resource="a")
    await fill(platform, 3, resource="b", tenant_id="018f0000-0000-7000-8000-000000000001")
    placed = await holding.add(draft("audit_logs", **fields))
    await retention.apply(["audit_logs"], by="test")
    left = await stored(platform)
    await holding.release(placed.hold.id, by="test", reason="over")
    assert len(left) == kept


async def test_a_tenants_hold_names_the_data_types_that_it_covers(holding: Holding) -> None:
    placed = await holding.add(draft(tenant="018f0000-0000-7000-8000-000000000001"))
    await holding.release(placed.hold.id, by="test", reason="over")
    assert placed.hold.data_types == ("audit_logs",)


@pytest.mark.parametrize(
    ("data_types", "fields", "error", "reason"),
    [
        (["audit_logs"], {"reason": " "}, UsageError, "needs a reason"),
        ([], {}, UsageError, "name the data types"),
        ([], {"key": "x"}, UsageError, "name the data types"),
        (["audit_log"], {}, UsageError, "no data type"),
        (["accounts"], {}, UsageError, "not open"),
        (["objects"], {"conditions": ("colour=red",)}, UsageError, "no field 'colour'"),
        (["objects"], {"conditions": ("name",)}, UsageError, "cannot read condition"),
        (["objects"], {"tenant": "018f0000-0000-7000-8000-000000000001"}, UsageError, "whose"),
        (["objects"], {"key": "nothing"}, UsageError, "keys like bucket/name"),
        (["objects"], {"words": "x"}, UsageError, "no text"),
        (["audit_logs"], {"conditions": ("success=maybe",)}, UsageError, "success"),
        (["audit_logs", "objects"], {"conditions": ("resource=a",)}, UsageError, "no field"),
    ],
)
async def test_what_is_no_hold_is_refused_before_anything_is_stored(
    holding: Holding,
    data_types: list[str],
    fields: dict[str, Any],
    error: type[Exception],
    reason: str,
) -> None:
    before = len(await holding.find(released=True))
    with pytest.raises(error, match=reason):
        await holding.add(draft(*data_types, **fields))
    assert len(await holding.find(released=True)) == before


async def test_a_data_type_that_never_goes_cannot_be_held(
    primary: PostgresStore, documents: JsonbStore
) -> None:
    rules = {
        "audit_logs": rule("audit_logs", "jsonb"),
        "accounts": rule("accounts", "postgres"),
    }
    platform = facade(rules, [primary, documents])
    holding = Holding(platform, primary.holds, Retention(platform, primary.holds, holder="t"))
    with pytest.raises(UnsupportedError, match="accounts cannot be held"):
        await holding.add(draft("accounts"))


async def test_archives_are_no_objects_that_age(platform: Polystore, retention: Retention) -> None:
    await fill(platform, 1)
    await retention.apply(["audit_logs"], by="test")
    late = Retention(
        platform,
        retention._holds,
        holder="test",
        now=lambda: datetime.fromisoformat("2099-01-01T00:00:00Z"),
    )
    await platform.objects.write([platform.objects.record(bucket="other", name="a", content=b"x")])
    [done] = (await late.apply(["objects"], by="test")).done
    assert (done.deleted, len(await retention.archive.parts())) == (1, 1)


async def test_one_data_type_that_fails_keeps_no_other(
    platform: Polystore, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(platform, 2)

    async def away(*_: object, **__: object) -> None:
        raise UnavailableError("away", store="files")

    ages = type(platform.stores["files"].ages("objects"))  # type: ignore[attr-defined]
    monkeypatch.setattr(ages, "portion", away)
    applied = await retention.apply(by="test")
    assert {each.data_type: each.outcome for each in applied.done} == {
        "audit_logs": "done",
        "objects": "failed",
    }
    assert [each.data_type for each in applied.failed] == ["objects"]
