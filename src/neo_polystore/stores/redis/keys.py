"""Every Redis key there is: families of keys, their TTLs, and the one place that makes them.

A name's parts come from outside, so they are escaped like in a URL: `%`, braces (they choose a
cluster slot), spaces and control characters everywhere, and `:` in every part but the last.
Different parts therefore never make the same key, and ordinary ones stay readable.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from uuid import UUID

from neo_polystore.errors import ConfigError, UnsupportedError

_PLACE = re.compile(r"\{\w+\}")
_UNSAFE = re.compile(r"[%{}\x00-\x20\x7f\ud800-\udfff]")
_UNSAFE_OR_COLON = re.compile(r"[%{}:\x00-\x20\x7f\ud800-\udfff]")
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class Family:
    """Keys of one pattern. `ttl` is in seconds; `holds` is told to administrators."""

    pattern: str
    ttl: float
    holds: str

    def key(self, *parts: str) -> str:
        """The key with its placeholders filled in order."""
        literals = _literals(self.pattern)
        last = len(parts) - 1
        if len(literals) != len(parts) + 1:
            raise ValueError(f"{self.pattern} takes {len(literals) - 1} parts, got {len(parts)}")
        key = literals[0]
        for place, part in enumerate(parts):
            key += _escape(part, colons=place == last) + literals[place + 1]
        return key


FAMILIES: Mapping[str, Family] = {
    # RDS-01 to RDS-06: patterns and TTLs as the specification lists them.
    "session": Family("session:{session_id}", 3600, "a login, bound to its token's hash"),
    "user": Family("user:{user_id}:profile", 300, "a user"),
    "rate_limit": Family("rate_limit:{client_id}:{endpoint}", 60, "a fixed window's count"),
    "compute": Family("compute:{job_id}:result", 86400, "the result of a computation"),
    "price": Family("price:{symbol}", 10, "a price feed's last value"),
    "config": Family("config:{service_name}", 600, "a service's configuration"),
    # RDS-07: TTLs by class of data; they hold where no pattern above says otherwise (D-14).
    "user_data": Family("user_data:{key}", 600, "the class User Data"),
    "asset_data": Family("asset_data:{key}", 300, "the class Asset Data"),
    "trading": Family("trading:{key}", 60, "the class Trading"),
    "price_data": Family("price_data:{key}", 30, "the class Price"),
    "analytics": Family("analytics:{key}", 1800, "the class Analytics"),
    # RDS-08: what the oracle service reads through.
    "oracle": Family("oracle:{feed}", 300, "what describes a price feed"),
    # RDS-16: one record each, or one query. A record's key is the pattern's last parts, which
    # are `{chain_id}:{hash}` and `{chain_id}:{address}` on chains.
    "transaction": Family("tx:{network_id_and_hash}", 60, "a transaction"),
    "metrics": Family("metrics:{query_hash}", 60, "a metric query's answer, or its version"),
    "document": Family("doc:{collection}:{id}", 300, "a document"),
    "network": Family("network:{chain_id}", 300, "a network"),
    "contract": Family("contract:{chain_id_and_address}", 300, "a contract"),
    "wallet": Family("wallet:{tenant_id}:{chain_id_and_address}", 600, "a wallet of a tenant"),
    # RDS-12, RDS-15: results of cached queries, and the groups that such results belong to.
    "query": Family("query:{query_hash}", 300, "a cached query's result"),
    "tag": Family("tag:{tenant_id}:{name}", 86400, "the version of a group of entries"),
    # RDS-03, by the other algorithms: a log, counters of parts of a window, a token bucket.
    "rate_log": Family("rate_log:{client_id}:{endpoint}", 60, "a sliding window's exact log"),
    "rate_counts": Family("rate_counts:{client_id}:{endpoint}", 60, "a sliding window's counters"),
    "rate_bucket": Family("rate_bucket:{client_id}:{endpoint}", 60, "a token bucket's level"),
}
"""By name. The TTL of `rate_...` is the default window; each check brings its own."""


_RECORDS: Mapping[str, str] = {
    "accounts": "user",
    "networks": "network",
    "wallets": "wallet",
    "transactions": "transaction",
    "contracts": "contract",
    "contract_metadata": "document",
}
"""The family of each data type whose records are cached by key."""


def family_of(data_type: str) -> str:
    """The family of a data type's records; UnsupportedError where they are not cached."""
    if data_type not in _RECORDS:
        raise UnsupportedError(f"{data_type} have no key family", store="redis")
    return _RECORDS[data_type]


class Keys:
    """The families with the TTLs in force, and the namespace that stands before every key."""

    def __init__(
        self,
        *,
        namespace: str = "",
        ttls: Mapping[str, float] | None = None,
        cluster: bool = False,
    ):
        if unknown := sorted(set(ttls or {}) - set(FAMILIES)):
            raise ConfigError(
                f"no key family {', '.join(unknown)}; there are {', '.join(FAMILIES)}",
                store="redis",
            )
        self._namespace = namespace
        self._families = {
            name: replace(family, ttl=(ttls or {}).get(name, family.ttl))
            for name, family in FAMILIES.items()
        }
        if cluster:  # all limits of a client in one slot: the braces are the key's hash tag
            for name in ("rate_limit", "rate_log", "rate_counts", "rate_bucket"):
                family = self._families[name]
                pattern = family.pattern.replace("{client_id}", "{{client_id}}")
                self._families[name] = replace(family, pattern=pattern)

    def family(self, name: str) -> Family:
        """A family by its name in `FAMILIES`."""
        return self._families[name]

    def stored(self, key: str) -> str:
        """The key as the server sees it."""
        return self._namespace + key

    def prefix(self, name: str) -> str:
        """What every key of a family begins with, as the server sees it."""
        return self.stored(_literals(self._families[name].pattern)[0])

    def patterns(self) -> list[str]:
        """What SCAN finds every key by that is surely ours."""
        if self._namespace:
            return [_glob(self._namespace) + "*"]
        return sorted({family.pattern.partition("{")[0] + "*" for family in FAMILIES.values()})

    def pattern(self, name: str) -> str:
        """What SCAN finds the keys of a family by."""
        parts = [_glob(literal) for literal in _literals(self._families[name].pattern)]
        return _glob(self._namespace) + "*".join(parts)

    def of_record(self, data_type: str, key: str, tenant: UUID | None) -> tuple[str, float]:
        """Key and TTL of a record; UnsupportedError where its data type is not cached.

        `user:{user_id}:profile` is prescribed to the letter and has no room for the tenant: a
        user id belongs to one tenant only, and `wrappers.cached.entry` binds what is stored to it.
        """
        family = self.family(family_of(data_type))
        match data_type:
            case "wallets":
                return family.key(str(tenant or ""), key), family.ttl
            case "contract_metadata":
                return family.key(data_type, key), family.ttl
            case _:
                return family.key(key), family.ttl


@cache
def _literals(pattern: str) -> list[str]:
    """What stands around the placeholders."""
    return _PLACE.split(pattern)


def _glob(text: str) -> str:
    """The text with what SCAN takes for wildcards escaped."""
    return re.sub(r"([\\*?\[\]^])", r"\\\1", text)


def _escape(part: str, *, colons: bool) -> str:
    unsafe = _UNSAFE if colons else _UNSAFE_OR_COLON
    if len(part) <= _LONGEST and not unsafe.search(part):
        return part
    text = unsafe.sub(lambda match: f"%{ord(match[0]):02X}", part)
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(part.encode(errors="surrogatepass")).hexdigest()
    return f"{text[:64]}%~{digest}"  # "%~" comes from no escape, so no short part looks like it
