"""Items of users and services over PostgreSQL: versions, owners, rollback, audit."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.errors import (
    ConflictError,
    ForbiddenError,
    IntegrityError,
    NotFoundError,
    PolystoreError,
    UnsupportedError,
    UsageError,
    ValidationError,
)
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER, uuid7
from neo_polystore.polystore import Polystore
from neo_polystore.records.query import Query
from neo_polystore.records.scope import SYSTEM, Scope
from neo_polystore.records.sealed import SealedBlob, ServiceBlob
from neo_polystore.records.sealing import Opener
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.items import Draft, OwnItems, Rules
from tests.sealing.conftest import OPENER, Bench, draft
from tests.sealing.making import ENCLAVE, LABELLED, MRENCLAVE, MRSIGNER, SIGNER


@pytest.fixture(params=["user", "service"])
def own(request: pytest.FixtureRequest) -> OwnItems:
    """The items of a user, and of a service."""
    found: OwnItems = request.getfixturevalue("items" if request.param == "user" else "service")
    return found


async def content_of(own: OwnItems, key: str) -> bytes:
    return bytes((await own.open(key, OPENER)).content)


def table(own: OwnItems) -> tuple[str, str]:
    """The table of the owner's items, and its condition for the key $1."""
    if str(own.owner).startswith("user"):
        return "enclave.sealed_data", f"data_key = '{SYSTEM_USER}/' || $1"
    return "sgx.sealed_data_items", "item_key = $1"


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) + 1])
async def test_what_was_sealed_opens_byte_for_byte(own: OwnItems, size: int) -> None:
    one = draft(content=os.urandom(size))
    await own.seal(one)
    assert await content_of(own, one.data_key) == one.content


async def test_what_is_stored_is_not_the_content(own: OwnItems, bench: Bench) -> None:
    one = draft(content=b"PLAINTEXT" * 20)
    await own.seal(one)
    name, condition = table(own)
    row = await bench.administrator.fetchrow(
        f"SELECT t::text AS row FROM {name} t WHERE {condition}", one.data_key
    )
    assert row is not None
    assert b"PLAINTEXT".hex() not in row["row"]


async def test_versions_rise_and_the_expected_one_must_be_stored(own: OwnItems) -> None:
    one = draft()
    assert (await own.seal(one)).binding.version == 1
    assert (await own.seal(draft(one.data_key, b"2", expected=1))).binding.version == 2
    with pytest.raises(ConflictError, match="version 2, expected 1"):
        await own.seal(draft(one.data_key, b"3", expected=1))
    with pytest.raises(ConflictError, match="expected 0"):
        await own.seal(draft(one.data_key, b"3", expected=0))
    assert await content_of(own, one.data_key) == b"2"


async def test_concurrent_writers_of_one_item_all_get_a_version(own: OwnItems) -> None:
    key = uuid4().hex
    heads = await asyncio.gather(*(own.seal(draft(key, b"%d" % n)) for n in range(4)))
    assert sorted(head.binding.version for head in heads) == [1, 2, 3, 4]
    last = max(heads, key=lambda head: head.binding.version)
    assert await content_of(own, key) == b"%d" % heads.index(last)


async def test_the_version_goes_on_after_a_deletion(own: OwnItems) -> None:
    one = draft()
    await own.seal(one)
    with pytest.raises(ConflictError):
        await own.delete(one.data_key, expected=2)
    await own.delete(one.data_key, expected=1)
    with pytest.raises(NotFoundError):
        await own.open(one.data_key, OPENER)
    with pytest.raises(NotFoundError):
        await own.delete(one.data_key)
    assert (await own.seal(draft(one.data_key, expected=0))).binding.version == 2


async def test_a_batch_is_sealed_whole_or_not_at_all(own: OwnItems) -> None:
    old = draft()
    await own.seal(old)
    fresh = draft()
    with pytest.raises(ConflictError):
        await own.seal_all([fresh, draft(old.data_key, expected=0)])
    with pytest.raises(NotFoundError):
        await own.open(fresh.data_key, OPENER)
    heads = await own.seal_all([draft(f"{old.data_key}/{n}", b"%d" % n) for n in (2, 0, 1)])
    keys = [head.binding.data_key for head in heads]
    assert [item.content for item in await own.open_all(keys, OPENER)] == [b"2", b"0", b"1"]
    listed = await own.heads(prefix=f"{old.data_key}/", limit=2)
    assert [head.binding.data_key for head in listed] == sorted(keys)[:2]
    rest = await own.heads(prefix=f"{old.data_key}/", after=listed[-1].binding.data_key)
    assert [head.binding.data_key for head in rest] == sorted(keys)[2:]


async def test_every_owner_has_keys_of_his_own(bench: Bench, items: OwnItems) -> None:
    one = draft(content=b"mine")
    await items.seal(one)
    others = [
        bench.sealing.of_service("a"),
        bench.sealing.of_service("b"),
        bench.sealing.of_user(SYSTEM_TENANT, uuid7()),
        bench.sealing.of_user(uuid7(), SYSTEM_USER),
    ]
    for other in others:
        with pytest.raises(NotFoundError):
            await other.open(one.data_key, OPENER)
    for service in others[:2]:
        await service.seal(draft(one.data_key, str(service.owner).encode()))
    for service in others[:2]:
        assert await content_of(service, one.data_key) == str(service.owner).encode()
    assert await content_of(items, one.data_key) == b"mine"


async def test_a_stranger_to_the_tenant_seals_nothing(bench: Bench) -> None:
    with pytest.raises(ValidationError, match="owner"):
        await bench.sealing.of_user(SYSTEM_TENANT, uuid7()).seal(draft())


MEASURED = Opener(mr_enclave=ENCLAVE, mr_signer=SIGNER, product_id=7, svn=3)


@pytest.mark.parametrize(
    ("identity", "change"),
    [
        (MRENCLAVE, {"mr_enclave": SIGNER}),
        (MRSIGNER, {"mr_signer": ENCLAVE}),
        (MRSIGNER, {"product_id": 8}),
        (MRSIGNER, {"svn": 2}),
        (MRSIGNER, {"svn": None}),
    ],
)
async def test_an_item_opens_for_whom_it_is_sealed(
    items: OwnItems, identity: Any, change: dict[str, Any]
) -> None:
    one = draft(identity=identity)
    await items.seal(one)
    assert (await items.open(one.data_key, MEASURED)).content == one.content
    newer = MEASURED.model_copy(update={"svn": 9})
    assert (await items.open(one.data_key, newer)).content == one.content
    with pytest.raises(ForbiddenError):
        await items.open(one.data_key, MEASURED.model_copy(update=change))


async def test_an_item_is_sealed_again_for_a_higher_floor(own: OwnItems) -> None:
    one = draft(identity=MRSIGNER)
    await own.seal(one)
    with pytest.raises(ForbiddenError):
        await own.reseal_for(one.data_key, OPENER, svn_floor=9)
    head = await own.reseal_for(one.data_key, MEASURED, svn_floor=9)
    assert (head.binding.version, head.binding.identity.svn_floor) == (2, 9)
    with pytest.raises(ForbiddenError, match="SVN floor is 9"):
        await own.open(one.data_key, MEASURED)
    newer = MEASURED.model_copy(update={"svn": 9})
    assert (await own.open(one.data_key, newer)).content == one.content
    with pytest.raises(ValidationError, match="svn_floor"):
        await own.reseal_for(one.data_key, newer, svn_floor=-1)


async def test_a_policy_rules_what_is_sealed_under_its_name(bench: Bench) -> None:
    service = bench.sealing.of_service("ruled")
    policy = SealingPolicy(
        name=f"p{uuid4().hex[:8]}", policy_type="MRSIGNER", retention_days=7, svn_floor=3
    )
    await bench.sealing.put_policy(policy)
    assert await bench.sealing.policy(policy.name) == policy
    one = draft(identity=MRSIGNER, policy_name=policy.name)
    head = await service.seal(one)
    assert head.expires_at is not None
    assert head.expires_at - datetime.now(UTC) < timedelta(days=7)
    with pytest.raises(ConflictError, match="is for MRSIGNER"):
        await service.seal(draft(identity=MRENCLAVE, policy_name=policy.name))
    await bench.sealing.put_policy(policy.model_copy(update={"svn_floor": 4}))
    with pytest.raises(ForbiddenError, match="SVN floor is 4"):
        await service.open(one.data_key, MEASURED)
    with pytest.raises(ConflictError, match="SVN floor 4"):
        await service.seal(draft(identity=MRSIGNER, policy_name=policy.name))
    with pytest.raises(ConflictError, match="another type"):
        await bench.sealing.put_policy(policy.model_copy(update={"policy_type": "MRENCLAVE"}))
    with pytest.raises(NotFoundError, match="no sealing policy"):
        await service.seal(draft(policy_name="nowhere"))


async def test_services_items_expire_and_users_items_do_not(
    service: OwnItems, items: OwnItems, bench: Bench
) -> None:
    kept = draft()
    assert (await items.seal(kept)).expires_at is None
    due = (await service.seal(draft())).expires_at
    assert due is not None
    assert timedelta(days=89) < due - datetime.now(UTC) <= timedelta(days=90)
    gone = draft(expires_at=datetime.now(UTC) - timedelta(days=1))
    await service.seal(gone)
    with pytest.raises(NotFoundError):
        await service.open(gone.data_key, OPENER)
    await bench.store.upkeep.expired_data()
    mark = "SELECT deleted_at FROM enclave.sealed_heads WHERE data_key = $1"
    assert await bench.administrator.fetchval(mark, gone.data_key) is not None
    assert await bench.administrator.fetchval(mark, kept.data_key) is None


async def replay(bench: Bench, own: OwnItems, key: str, *, whole: bool) -> None:
    """Put an item's first row back in place of its second, past all rules."""
    name, condition = table(own)
    row = await bench.administrator.fetchrow(f"SELECT * FROM {name} WHERE {condition}", key)
    assert row is not None
    await own.seal(draft(key, b"second"))
    blob = "sealed_blob" if name.startswith("enclave") else "sealed_data"
    await bench.administrator.execute(
        f"UPDATE {name} SET {blob} = $2, mac = $3, version = $4 WHERE {condition}",
        key,
        row[blob],
        row["mac"],
        row["version"] if whole else row["version"] + 1,
    )


@pytest.mark.parametrize("whole", [True, False])
async def test_an_older_row_or_blob_is_refused_and_audited(
    own: OwnItems, bench: Bench, polystore: Any, whole: bool
) -> None:
    one = draft()
    await own.seal(one)
    await replay(bench, own, one.data_key, whole=whole)
    with pytest.raises(IntegrityError, match="rollback" if whole else "written last"):
        await own.open(one.data_key, OPENER)
    found = await denied(polystore, own, one.data_key)
    assert ("rollback" in found[0]) == whole


async def denied(polystore: Any, own: OwnItems, key: str) -> list[str]:
    """The errors of audit entries about an item."""
    query = Query(limit=50).where("resource_id", f"{own.owner}/{key}").where("success", False)
    page = await polystore.audit.within(SYSTEM).find(query)
    return [entry.body()["error_message"] for entry in page.records]


async def test_a_deleted_item_does_not_come_back(own: OwnItems, bench: Bench) -> None:
    one = draft()
    await own.seal(one)
    name, condition = table(own)
    await bench.administrator.execute(
        f"CREATE TEMP TABLE kept ON COMMIT PRESERVE ROWS AS SELECT * FROM {name} WHERE {condition}",
        one.data_key,
    )
    await own.delete(one.data_key)
    await bench.administrator.execute(f"INSERT INTO {name} SELECT * FROM kept")
    await bench.administrator.execute("DROP TABLE kept")
    with pytest.raises(IntegrityError, match="deleted, and its row is back"):
        await own.open(one.data_key, OPENER)


FIELDS = {
    "mac": "md5('x') || md5('y')",
    "version": "version + 1",
    "blob": "set_byte({blob}, octet_length({blob}) - 1, 255 - get_byte({blob},"
    " octet_length({blob}) - 1))",
    "header": "set_byte({blob}, 20, 255 - get_byte({blob}, 20))",
}


@pytest.mark.parametrize("field", FIELDS)
async def test_no_altered_field_of_the_row_opens(own: OwnItems, bench: Bench, field: str) -> None:
    one = draft()
    await own.seal(one)
    name, condition = table(own)
    blob = "sealed_blob" if name.startswith("enclave") else "sealed_data"
    column = blob if field in ("blob", "header") else field
    await bench.administrator.execute(
        f"UPDATE {name} SET {column} = {FIELDS[field].format(blob=blob)} WHERE {condition}",
        one.data_key,
    )
    with pytest.raises(IntegrityError):
        await own.open(one.data_key, OPENER)


HEADS = {
    "enclave_id": "'x'",
    "label": "'other'",
    "policy_name": "'other'",
    "key_id": "'sealing:9'",
    "mac": "sha256('x')",
    "version": "version + 1",
}


@pytest.mark.parametrize("field", HEADS)
async def test_no_altered_field_of_the_head_opens(
    service: OwnItems, bench: Bench, field: str
) -> None:
    one = draft()
    await service.seal(one)
    await bench.administrator.execute(
        f"UPDATE enclave.sealed_heads SET {field} = {HEADS[field]}, generation = generation + 1"
        " WHERE data_key = $1",
        one.data_key,
    )
    opener = OPENER.model_copy(update={"label": "other"}) if field == "label" else OPENER
    with pytest.raises((IntegrityError, NotFoundError)):
        await service.open(one.data_key, opener)


async def test_a_head_never_falls_for_anybody(service: OwnItems, bench: Bench) -> None:
    import asyncpg

    one = draft()
    await service.seal(one)
    await service.seal(draft(one.data_key, b"2"))
    for change in ("version = 1", "generation = generation - 1", "data_key = 'x'"):
        with pytest.raises(asyncpg.CheckViolationError, match="only rises"):
            await bench.administrator.execute(
                f"UPDATE enclave.sealed_heads SET {change} WHERE data_key = $1", one.data_key
            )


async def test_a_blob_that_was_sealed_elsewhere_is_neither_opened_nor_overwritten(
    bench: Bench, items: OwnItems
) -> None:
    key = uuid4().hex
    blob = SealedBlob(
        data_key=key, enclave_id="e", policy="MRENCLAVE", mac="ab" * 32, blob=b"NPS1 or not"
    )
    port = bench.store.port("sealed").within(SYSTEM)
    await port.write([blob])
    with pytest.raises(UnsupportedError, match="elsewhere"):
        await items.open(key, OPENER)
    with pytest.raises(ConflictError, match="elsewhere"):
        await items.seal(draft(key))
    assert (await port.get(blob.key)).blob == blob.blob


async def test_what_was_sealed_here_is_not_overwritten_or_deleted_as_a_blob_from_elsewhere(
    bench: Bench, items: OwnItems
) -> None:
    one = draft()
    await items.seal(one)
    blob = SealedBlob(
        data_key=one.data_key, enclave_id="e", policy="MRENCLAVE", mac="ab" * 32, blob=b"x"
    )
    port = bench.store.port("sealed").within(SYSTEM)
    written = await port.write([blob])
    assert [(found.field, "sealed here" in found.reason) for found in written.rejected] == [
        ("data_key", True)
    ]
    with pytest.raises(ConflictError, match="sealed here"):
        await port.delete(blob.key)
    assert await content_of(items, one.data_key) == one.content
    await items.delete(one.data_key)
    assert (await port.write([blob])).new == 1
    await port.delete(blob.key)


async def test_a_services_blobs_and_sealed_items_do_not_touch_each_other(
    bench: Bench, service: OwnItems
) -> None:
    name = str(service.owner).partition(":")[2]
    port = bench.store.service_blobs(timedelta(days=1)).within(Scope(service=name))
    fields: dict[str, Any] = {
        "enclave_id": "e",
        "policy": "MRENCLAVE",
        "mac": "ab" * 32,
        "blob": b"x",
    }
    item, blob = draft(), ServiceBlob(data_key=uuid4().hex, **fields)
    await service.seal(item)
    await port.write([blob])
    with pytest.raises(UnsupportedError, match="elsewhere"):
        await service.open(blob.key, OPENER)
    with pytest.raises(ConflictError, match="elsewhere"):
        await service.seal(draft(blob.key))
    written = await port.write([ServiceBlob(data_key=item.data_key, **fields)])
    assert [(found.field, "sealed here" in found.reason) for found in written.rejected] == [
        ("data_key", True)
    ]
    with pytest.raises(ConflictError, match="sealed here"):
        await port.delete(item.data_key)
    with pytest.raises(NotFoundError):
        await port.get(item.data_key)
    assert item.data_key not in {one.data_key for one in await port.facts(limit=1000)}
    assert await content_of(service, item.data_key) == item.content
    await service.delete(item.data_key)
    assert (await port.write([ServiceBlob(data_key=item.data_key, **fields)])).new == 1


async def test_a_services_blobs_are_audited_in_the_systems_trail(polystore: Polystore) -> None:
    blob = ServiceBlob(
        data_key=uuid4().hex, enclave_id="e", policy="MRENCLAVE", mac="ab" * 32, blob=b"TOP-SECRET"
    )
    port = polystore.sealing.blobs_of_service("pay")
    await port.write([blob])
    await port.get(blob.key)
    await port.facts(prefix=blob.key)
    await port.delete(blob.key)
    query = Query(limit=10).where("resource", "sealed_blob").where("resource_id", blob.key)
    entries = [entry.body() for entry in (await polystore.audit.within(SYSTEM).find(query)).records]
    found = [entry["action"] for entry in reversed(entries)]
    assert found == ["UPDATE", "READ", "READ", "DELETE"]
    assert "TOP-SECRET" not in repr(entries)


async def test_blobs_from_elsewhere_are_audited_too(polystore: Polystore) -> None:
    key = uuid4().hex
    blob = SealedBlob(
        data_key=key, enclave_id="e", policy="MRENCLAVE", mac="ab" * 32, blob=b"TOP-SECRET"
    )
    port, trail = polystore.sealed.within(SYSTEM), polystore.audit.within(SYSTEM)
    await port.write([blob])
    await port.get(blob.key)
    await port.delete(blob.key)
    with pytest.raises(NotFoundError):
        await port.get(blob.key)
    query = Query(limit=10).where("resource", "sealed_blob").where("resource_id", blob.key)
    entries = [entry.body() for entry in (await trail.find(query)).records]
    found = [(entry["action"], entry["success"]) for entry in reversed(entries)]
    assert found == [("UPDATE", True), ("READ", True), ("DELETE", True), ("READ", False)]
    assert "TOP-SECRET" not in repr(entries)


async def test_content_over_the_limit_is_refused_with_the_setting(bench: Bench) -> None:
    small = bench.another(rules=Rules(largest=10)).of_service("small")
    await small.seal(draft(content=b"x" * 10))
    with pytest.raises(ValidationError, match="NEO_SEALED_MAX_BYTES"):
        await small.seal(draft(content=b"x" * 11))


@pytest.mark.parametrize("key", ["", "x" * 201, "a\0b"])
async def test_a_bad_key_is_refused(items: OwnItems, key: str) -> None:
    with pytest.raises(ValidationError, match="data_key"):
        await items.seal(Draft(key, b"x", LABELLED))


async def test_a_key_twice_in_a_batch_is_refused(items: OwnItems) -> None:
    one = draft()
    with pytest.raises(UsageError, match="each key once"):
        await items.seal_all([one, one])


async def test_every_operation_leaves_one_entry_without_content(
    own: OwnItems, bench: Bench
) -> None:
    one = draft(content=b"TOP-SECRET-CONTENT")
    counts = bench.trail.counts
    before = counts.recorded
    await own.seal(one)
    await own.seal(draft(one.data_key, b"TOP-SECRET-CONTENT"))
    await own.open(one.data_key, OPENER)
    await own.heads(prefix=one.data_key)
    await own.delete(one.data_key)
    assert counts.recorded - before == 5
    entries = await bench.entries(f"{own.owner}/{one.data_key}")
    text = repr(entries)
    assert "TOP-SECRET" not in text
    for action in ("CREATE", "UPDATE", "READ", "DELETE"):
        assert action in text


async def test_errors_and_reprs_show_no_content(items: OwnItems, bench: Bench) -> None:
    one = draft(content=b"TOP-SECRET")
    await items.seal(one)
    opened = await items.open(one.data_key, OPENER)
    assert "TOP-SECRET" not in repr((one, opened))
    with pytest.raises(PolystoreError) as caught:
        await items.seal(draft(one.data_key, b"TOP-SECRET", expected=5))
    assert "TOP-SECRET" not in repr(caught.value) + str(caught.value)
