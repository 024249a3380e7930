"""The cached form of every data type that has one; see `cached_records` for what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neo_polystore.errors import UnsupportedError
from neo_polystore.ports.cache import Cache
from neo_polystore.wrappers.cached_accounts import CachedAccounts
from neo_polystore.wrappers.cached_entry import LARGEST
from neo_polystore.wrappers.cached_guard import BUDGET, Later
from neo_polystore.wrappers.cached_metrics import CachedMetrics
from neo_polystore.wrappers.cached_near import NearSize
from neo_polystore.wrappers.cached_options import Caching
from neo_polystore.wrappers.cached_ports import (
    CachedContracts,
    CachedDocuments,
    CachedNetworks,
    CachedTransactions,
    CachedWallets,
)
from neo_polystore.wrappers.cached_query import QueryCache
from neo_polystore.wrappers.cached_records import CachedRecords

__all__ = ["CachedRecords", "Caching", "NearSize", "cached", "queries"]

_WRAPPERS: Mapping[str, type[CachedRecords[Any, Any] | CachedMetrics]] = {
    "accounts": CachedAccounts,
    "networks": CachedNetworks,
    "wallets": CachedWallets,
    "transactions": CachedTransactions,
    "contracts": CachedContracts,
    "contract_metadata": CachedDocuments,
    "metrics": CachedMetrics,
}


COMMON = frozenset(
    name
    for name, wrapper in _WRAPPERS.items()
    if issubclass(wrapper, CachedRecords) and not wrapper.tenant_owned
)
"""The cached data types that no tenant owns."""

RARE = frozenset(
    name
    for name, wrapper in _WRAPPERS.items()
    if issubclass(wrapper, CachedRecords) and wrapper.written_once
)
"""Those whose writes end a tag only if it is used."""


def queries(caching: Caching) -> QueryCache:
    """The cache of query results; tags of data types that no tenant owns are common to all."""
    return QueryCache(caching.cache, caching.reading(), common=COMMON, rare=RARE)


def cached(
    data_type: str,
    primary: Any,
    cache: Cache,
    *,
    budget: float = BUDGET,
    largest: int = LARGEST,
    later: Later | None = None,
    near: NearSize | None = None,
) -> Any:
    """The port of a data type behind a cache. UnsupportedError where it cannot be cached: sealed
    blobs never are, nor what has no key to be read by."""
    wrapper = _WRAPPERS.get(data_type)
    if wrapper is None:
        able = ", ".join(sorted(_WRAPPERS))
        raise UnsupportedError(
            f"{data_type} cannot be cached (only {able}):"
            " leave its cache empty in the routing table"
        )
    if issubclass(wrapper, CachedMetrics):
        return wrapper(data_type, primary, cache, budget=budget)
    return wrapper(data_type, primary, Caching(cache, budget, largest, later, near))
