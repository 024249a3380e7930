"""Which record model a data type has."""

from __future__ import annotations

from functools import lru_cache

from neo_polystore.errors import ConfigError, UsageError
from neo_polystore.records.accounts import User
from neo_polystore.records.analytics import Fact
from neo_polystore.records.base import Record
from neo_polystore.records.collections import folders
from neo_polystore.records.contracts import Contract
from neo_polystore.records.documents import document_models
from neo_polystore.records.events import Event
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.networks import Network
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.sealed import SealedBlob
from neo_polystore.records.transactions import Transaction
from neo_polystore.records.wallets import Wallet

_STATIC: tuple[type[Record], ...] = (
    User,
    Network,
    Wallet,
    Transaction,
    Contract,
    Event,
    MetricPoint,
    LogEntry,
    Fact,
    SealedBlob,
    StoredObject,
)


def record_types() -> dict[str, type[Record]]:
    """Every data type that holds records, with its model; collections come from `mongo/`."""
    return _record_types(folders())


@lru_cache
def _record_types(_: object) -> dict[str, type[Record]]:
    static = {model.data_type: model for model in _STATIC}
    for name in static.keys() & document_models().keys():
        raise ConfigError(
            f"mongo/{name}.json: {name} is a data type already, rename the collection"
        )
    return static | document_models()


def record_type(data_type: str) -> type[Record]:
    """The model of one data type; raises UsageError naming those there are."""
    try:
        return record_types()[data_type]
    except KeyError:
        known = ", ".join(sorted(record_types()))
        raise UsageError(f"no data type {data_type!r} holds records; there are {known}") from None
