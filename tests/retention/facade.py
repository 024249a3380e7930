"""A facade over stores of a test's own, for retention over them alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neo_polystore.audit.trail import COLLECTION, AuditTrail
from neo_polystore.polystore import Polystore
from neo_polystore.ports.retention_policy import Age, Policy, Rule
from neo_polystore.routing import load_routing


def rule(data_type: str, engine: str, *, archive: bool = False, years: int = 7) -> Rule:
    """A rule that keeps so many years."""
    return Rule(data_type, engine, f"{years} years", Age(years, "year"), "test", archive)


def facade(
    rules: Mapping[str, Rule],
    stores: Iterable[Any],
    *,
    others: Mapping[str, Any] | None = None,
    trail: AuditTrail | None = None,
) -> Polystore:
    """Open stores as a facade; `others` are ports beside those that have rules."""
    found = {store.name: store for store in stores}
    ports = {name: found[each.engine].port(name) for name, each in rules.items()}
    ports.update(others or {})
    if trail is None and COLLECTION in ports and "postgres" in found:
        trail = AuditTrail(ports[COLLECTION], found["postgres"].chains)
    return Polystore(
        routing=load_routing("embedded"),
        stores=found,
        ports=ports,
        audit=trail,
        retention=Policy(rules),
    )
