"""Accounts: tenants and their users."""

from __future__ import annotations

from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.accounts import Tenant, User


class Accounts(Records[User], Protocol):
    """Users of the scope's tenant; mutable. A taken email or user name rejects the record.

    Passwords are stored as argon2id hashes and never come back.
    """

    async def create_tenant(self, tenant: Tenant) -> None:
        """Store a new tenant. Raises ConflictError where id or identifier is taken."""

    async def get_tenant(self) -> Tenant:
        """The scope's own tenant. Raises NotFoundError where there is none."""

    async def verify_password(self, username: str, password: str) -> User:
        """The user, where the password is right; NotFoundError for all else, equally slow."""
