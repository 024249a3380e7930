"""Tenants and the users that belong to them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field, SecretStr, StringConstraints

from neo_polystore.ids import uuid7
from neo_polystore.records.base import Record, Text, Text100, Text255

Tier = Literal["free", "basic", "pro", "enterprise"]
UserStatus = Literal["active", "inactive", "locked", "suspended"]
Email = Annotated[
    Text, StringConstraints(max_length=255, to_lower=True, pattern=r"^[^@\s]+@[^@\s]+$")
]


class Tenant(Record):
    """A customer; everything tenant-owned belongs to exactly one."""

    data_type: ClassVar[str] = "tenants"

    id: UUID = Field(default_factory=uuid7)
    name: Text255
    identifier: Annotated[Text, StringConstraints(pattern=r"^[a-z0-9][a-z0-9\-]{0,99}$")]
    subscription_tier: Tier = "free"

    @property
    def key(self) -> str:
        """The tenant's id."""
        return str(self.id)


class User(Record):
    """A person or program of a tenant. `password` is taken in once, stored as argon2id, never read.

    Without a password the user cannot log in with one.
    """

    data_type: ClassVar[str] = "accounts"

    id: UUID = Field(default_factory=uuid7)
    email: Email
    username: Text100
    password: SecretStr | None = Field(default=None, exclude=True)
    status: UserStatus = "active"
    email_verified: bool = False
    mfa_enabled: bool = False

    @property
    def key(self) -> str:
        """The user's id."""
        return str(self.id)
