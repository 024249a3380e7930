"""The spooling wrapper's decisions: what is queued, what is rejected, what is passed on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from neo_polystore.errors import (
    CorruptDataError,
    UnavailableError,
    UnsupportedError,
    ValidationError,
)
from neo_polystore.ports.outbox import Deferring, Draft
from neo_polystore.records.accounts import User
from neo_polystore.records.base import Record
from neo_polystore.records.catalog import record_type
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.payload import from_payload, to_payload
from neo_polystore.records.results import Written
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.samples import samples
from neo_polystore.wrappers.spooled import spooled
from neo_polystore.wrappers.spooled_records import SpooledRecords

TENANT = Scope(tenant=uuid4(), service="billing")
START = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Primary:
    """Takes records, or is away."""

    def __init__(self, record: type[Record]) -> None:
        self.record = record
        self.away = False
        self.calls = 0
        self.got: list[Record] = []

    def within(self, scope: Scope) -> Primary:
        return self

    async def write(self, records: Sequence[Record]) -> Written:
        self.calls += 1
        if self.away:
            raise UnavailableError("away", store="primary")
        self.got += records
        return Written(new=len(records))


class Kept:
    """An outbox that keeps what is published, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.drafts: list[Draft] = []
        self.scopes: list[Scope] = []
        self.asked = 0

    async def publish(self, drafts: Sequence[Draft], scope: Scope = NOBODY) -> list[int]:
        if self.away:
            raise UnavailableError("the outbox is away")
        self.drafts += drafts
        self.scopes.append(scope)
        return list(range(len(drafts)))

    async def waiting(self, topic: str, keys: Sequence[str]) -> bool:
        self.asked += 1
        return any(draft.key in keys for draft in self.drafts)


def line(number: int, text: str = "text") -> LogEntry:
    return LogEntry(id=f"line-{number}", timestamp=START, system="unit", message=text)


def port(primary: Primary, outbox: Kept, **options: Any) -> SpooledRecords[Any, Any]:
    times = iter(range(0, 10_000, 10))
    return SpooledRecords("logs", primary, outbox, clock=lambda: next(times), **options)


@pytest.fixture
def primary() -> Primary:
    return Primary(LogEntry)


@pytest.fixture
def outbox() -> Kept:
    return Kept()


async def test_what_the_primary_takes_is_committed(primary: Primary, outbox: Kept) -> None:
    written = await port(primary, outbox).write([line(1)])
    assert (written.consistency, outbox.drafts) == ("committed", [])


async def test_what_the_primary_cannot_take_is_queued_for_its_tenant(
    primary: Primary, outbox: Kept
) -> None:
    primary.away = True
    written = await port(primary, outbox).within(TENANT).write([line(1), line(2)])
    assert (written.new, written.consistency) == (2, "queued")
    assert [draft.key for draft in outbox.drafts] == ["line-1", "line-2"]
    assert outbox.scopes == [TENANT]
    assert from_payload(LogEntry, outbox.drafts[0].payload) == line(1)


async def test_the_last_record_of_a_key_is_queued_and_the_others_are_counted(
    primary: Primary, outbox: Kept
) -> None:
    primary.away = True
    written = await port(primary, outbox).write([line(1, "a"), line(1, "b"), line(1, "b")])
    assert (written.new, written.existing, written.replaced) == (1, 1, 1)
    [draft] = outbox.drafts
    assert draft.payload["message"] == "b"


async def test_a_record_that_its_model_refuses_is_rejected_and_not_queued(
    primary: Primary, outbox: Kept
) -> None:
    primary.away = True
    bad = line(2).model_copy(update={"message": "a\0b"})
    written = await port(primary, outbox).write([line(1), bad])
    assert [(found.index, found.field) for found in written.rejected] == [(1, "message")]
    assert "NUL" in written.rejected[0].reason
    assert [draft.key for draft in outbox.drafts] == ["line-1"]


async def test_when_all_are_rejected_nothing_is_queued(primary: Primary, outbox: Kept) -> None:
    primary.away = True
    bad = line(2).model_copy(update={"message": "a\0b"})
    written = await port(primary, outbox).write([bad])
    assert (written.new, written.consistency, outbox.drafts) == (0, "committed", [])


async def test_a_document_that_breaks_its_validator_is_rejected_and_not_queued(
    outbox: Kept,
) -> None:
    model = record_type("audit_logs")
    primary = Primary(model)
    primary.away = True
    bad = samples("audit_logs")[0].model_copy(update={"action": "PURGE"})
    written = await spooled("audit_logs", primary, outbox).write([bad])
    [rejection] = written.rejected
    assert rejection.field == "action"
    assert outbox.drafts == []


async def test_where_the_outbox_is_away_too_the_primarys_error_is_raised(
    primary: Primary, outbox: Kept
) -> None:
    primary.away = outbox.away = True
    with pytest.raises(UnavailableError, match="primary: away"):
        await port(primary, outbox, written_once=True).write([line(1)])


async def test_what_a_queue_would_change_is_not_queued(outbox: Kept) -> None:
    primary = Primary(User)
    primary.away = True
    user = User(username="u", email="u@example.org", password=SecretStr("secret"))
    with pytest.raises(UnavailableError, match="primary: away"):
        await SpooledRecords[Any, Any]("accounts", primary, outbox).write([user])
    assert outbox.drafts == []


async def test_a_key_that_waits_is_queued_behind_what_waits(primary: Primary, outbox: Kept) -> None:
    found = port(primary, outbox)
    primary.away = True
    await found.write([line(1, "old")])
    primary.away = False
    assert (await found.write([line(1, "new")])).consistency == "queued"
    assert (await found.write([line(2)])).consistency == "committed"


async def test_where_order_does_not_matter_the_outbox_is_not_asked(
    primary: Primary, outbox: Kept
) -> None:
    await port(primary, outbox, written_once=True).write([line(1)])
    assert outbox.asked == 0


async def test_after_a_failure_the_primary_is_left_alone_for_a_while(
    primary: Primary, outbox: Kept
) -> None:
    found = port(primary, outbox, written_once=True, pause=35)
    primary.away = True
    for number in range(4):
        await found.write([line(number)])
    assert primary.calls == 1
    primary.away = False
    assert (await found.write([line(9)])).consistency == "committed"


async def test_counts_are_shared_by_all_scopes(primary: Primary, outbox: Kept) -> None:
    found = port(primary, outbox)
    primary.away = True
    await found.within(TENANT).write([line(1)])
    assert (found.counts.queued, found.counts.failures) == (1, 1)


async def test_an_empty_write_asks_nobody(primary: Primary, outbox: Kept) -> None:
    assert (await port(primary, outbox).write([])).consistency == "committed"
    assert (primary.calls, outbox.asked) == (0, 0)


def test_a_spooled_port_says_where_the_relay_has_to_write(primary: Primary, outbox: Kept) -> None:
    found = port(primary, outbox)
    assert isinstance(found, Deferring)
    assert found.direct is primary
    assert not isinstance(primary, Deferring)


def test_a_data_type_that_cannot_be_spooled_is_refused(outbox: Kept) -> None:
    with pytest.raises(UnsupportedError, match="transactions cannot be spooled"):
        spooled("transactions", Primary(LogEntry), outbox)


@pytest.mark.parametrize("data_type", ["audit_logs", "contract_metadata", "logs", "transactions"])
def test_a_record_comes_out_of_the_queue_as_it_went_in(data_type: str) -> None:
    for record in samples(data_type):
        assert from_payload(type(record), to_payload(record)) == record


def test_a_documents_own_dates_numbers_and_marks_survive() -> None:
    document = record_type("audit_logs").parse(
        {
            **samples("audit_logs")[0].model_dump(by_alias=True, exclude_none=True),
            "changes": {
                "at": START,
                "many": [START, {"deeper": [START]}],
                "huge": 1e300,
                "whole": 1e16,
                "zero": -0.0,
                "small": 0.1,
            },
        }
    )
    back = from_payload(type(document), to_payload(document))
    assert back == document
    assert str(back) == str(document)


def test_what_json_would_not_give_back_is_refused() -> None:
    with pytest.raises(CorruptDataError):
        to_payload(User(username="u", email="u@example.org", password=SecretStr("secret")))
    with pytest.raises(ValidationError):
        to_payload(line(1).model_copy(update={"system": ""}))


@pytest.mark.parametrize(
    "payload", [None, [], "text", {"_id": {"$polystore": {"what": 1}}}, {"_id": {"$polystore": 1}}]
)
def test_what_is_no_payload_is_refused(payload: object) -> None:
    with pytest.raises(ValidationError):
        from_payload(record_type("audit_logs"), payload)
