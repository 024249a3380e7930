"""Networks: mutable, global (no tenant owns a chain)."""

from __future__ import annotations

from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.networks import Network


class Networks(Records[Network], Protocol):
    """Chains by chain id. A changed network replaces the stored one; a taken name is rejected."""
