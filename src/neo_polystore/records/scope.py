"""On whose behalf a call is made: tenant and service, which decide what is seen, and the user."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from neo_polystore.errors import UsageError
from neo_polystore.ids import SYSTEM_TENANT

MAX_USER = 255
"""Characters of a user's name: what the log of changed rows holds."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant, a service, both or none. With no tenant, tenant-owned records are not seen.

    `user` is who acts, usually a user's id: it changes nothing that is seen or allowed, and is
    the actor in the log of changed rows. Raises UsageError for one that the log cannot hold.
    """

    tenant: UUID | None = None
    service: str | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        if self.user is not None and ("\0" in self.user or not 0 < len(self.user) <= MAX_USER):
            raise UsageError(f"user: expected 1 to {MAX_USER} characters and no NUL")

    @property
    def anonymous(self) -> Scope:
        """Without the user: what decides what is seen, and so what calls can share."""
        return self if self.user is None else replace(self, user=None)


NOBODY = Scope()
SYSTEM = Scope(tenant=SYSTEM_TENANT)
