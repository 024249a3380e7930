"""What a hold covers: checked before anything is stored, and read back as queries."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from neo_polystore.errors import UsageError
from neo_polystore.ports.holds import Hold, HoldDraft, Standing
from neo_polystore.ports.retention import Held, HoldBy
from neo_polystore.records.catalog import record_type
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Filter, Query, parse_condition

TENANTS = {"logs": "fields.tenant_id", "analytics": "dimensions.tenant_id"}
TENANTS["events"] = "metadata.tenant_id"
"""Where records of a data type say whose they are; documents have a field `tenant_id`."""

_KEYS = {"logs": "id", "analytics": "id", "events": "event_id"}


def kind_of(hold: Hold | HoldDraft) -> HoldBy:
    """What a hold names; the finest of it, which an engine has to be able to tell apart."""
    if hold.conditions or hold.since or hold.until or hold.words:
        return "query"
    if hold.key is not None:
        return "key"
    return "data_type" if hold.tenant is None else "tenant"


def query_of(hold: Hold | HoldDraft, data_type: str) -> Query:
    """Which records of a data type are held; UsageError for a field or key that cannot be."""
    model = record_type(data_type)
    filters = [parse_condition(model, text) for text in hold.conditions]
    if hold.key is not None:
        filters += _key_filters(data_type, hold.key)
    if hold.tenant is not None:
        filters.append(_tenant_filter(data_type, hold.tenant))
    if (hold.since or hold.until) and model.time_field is None:
        raise UsageError(f"{data_type} have no time to hold by")
    return Query(tuple(filters), since=hold.since, until=hold.until, text=hold.words)


def held_of(standing: Standing, data_type: str) -> Held:
    """The holds on a data type as an engine takes them."""
    queries = tuple(query_of(hold, data_type) for hold in standing.holds)
    return Held(standing.generation, queries, standing.deadline)


def names_tenants(data_type: str) -> bool:
    """Whether records of this data type say whose they are."""
    return data_type in TENANTS or issubclass(record_type(data_type), Document)


def _tenant_filter(data_type: str, tenant: UUID) -> Filter:
    if not names_tenants(data_type):
        raise UsageError(f"{data_type} do not say whose they are: they cannot be held by tenant")
    return Filter(TENANTS.get(data_type, "tenant_id"), "eq", str(tenant))


def _key_filters(data_type: str, key: str) -> Iterable[Filter]:
    model = record_type(data_type)
    if issubclass(model, Document):
        return [Filter("document_id", "eq", key)]
    if data_type in _KEYS:
        return [parse_condition(model, f"{_KEYS[data_type]}={key}")]
    split = {"transactions": (":", "chain_id", "hash"), "objects": ("/", "bucket", "name")}
    if data_type in split:
        separator, first, second = split[data_type]
        head, found, tail = key.partition(separator)
        if head and found and tail:
            return [parse_condition(model, f"{first}={head}"), Filter(second, "eq", tail)]
        raise UsageError(f"{data_type} have keys like {first}{separator}{second}, not {key!r}")
    raise UsageError(f"{data_type} cannot be held by key")
