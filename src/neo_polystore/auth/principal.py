"""Who a request comes from, as far as that is proven."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from uuid import UUID

from neo_polystore.records.scope import Scope

Proof = Literal["none", "jwt", "api_key", "session"]


@dataclass(frozen=True)
class Principal:
    """Tenant, service and user to act as, and the roles that say what may be done.

    `proof` is `none` for who needs none: requests to the embedded profile on loopback, which act
    as the installation's tenant and may do everything. `credential` is the id of the API key or
    session, and opens nothing. `expires_at` is in seconds since the epoch.
    """

    scope: Scope
    roles: frozenset[str] = frozenset()
    proof: Proof = "none"
    credential: UUID | None = None
    expires_at: float | None = None

    @cached_property
    def logged(self) -> dict[str, str | None]:
        """Who it is, as lines of the log name him."""
        tenant, service, user = self.scope.tenant, self.scope.service, self.scope.user
        return {"tenant": str(tenant), "service": service, "user": user}

    @property
    def is_proven(self) -> bool:
        """Whether a token, a key or a session says who this is."""
        return self.proof != "none"
