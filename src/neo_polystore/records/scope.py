"""On whose behalf a call is made: the tenant and service that row-level security checks."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from neo_polystore.ids import SYSTEM_TENANT


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant, a service, both or none. With no tenant, tenant-owned records are not seen."""

    tenant: UUID | None = None
    service: str | None = None


NOBODY = Scope()
SYSTEM = Scope(tenant=SYSTEM_TENANT)
