"""Tenants, the users that belong to them, what these may do, and their sessions."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field, SecretStr, StringConstraints

from neo_polystore.ids import uuid7
from neo_polystore.records.base import Record, Text, Text50, Text100, Text255, Utc

Tier = Literal["free", "basic", "pro", "enterprise"]
_NAME = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{8}")
API_KEY = "neok"
"""What every API key begins with, so that those who scan for leaked secrets find it."""
_API_KEY = re.compile(API_KEY + r"\.([0-9a-f]{32})\.([0-9a-f]{32})\.[\w-]{43}", re.ASCII)
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


class Permission(Record):
    """That an action may be done to a resource; the same for all tenants."""

    data_type: ClassVar[str] = "permissions"

    name: Text100
    resource: Text100
    action: Text50
    description: Text | None = None

    @property
    def key(self) -> str:
        """The name."""
        return self.name


class Role(Record):
    """A set of permissions under a name of the tenant's own."""

    data_type: ClassVar[str] = "roles"

    id: UUID = Field(default_factory=uuid7)
    name: Text100
    description: Text | None = None

    @property
    def key(self) -> str:
        """The role's name."""
        return self.name


class Session(Record):
    """That a user has logged in, from where, and until when that holds."""

    data_type: ClassVar[str] = "sessions"

    id: UUID
    user_id: UUID
    ip_address: IPv4Address | IPv6Address
    user_agent: Text | None = None
    created_at: Utc
    expires_at: Utc

    @property
    def key(self) -> str:
        """The session's id, which opens nothing."""
        return str(self.id)


class ApiKey(Record):
    """What a program proves itself by: its tenant, and the roles and service that it acts with."""

    data_type: ClassVar[str] = "api_keys"

    id: UUID = Field(default_factory=uuid7)
    name: Text100
    service: Text100 | None = None
    roles: tuple[Text50, ...] = ()
    created_by: Text255 | None = None
    created_at: Utc | None = None
    expires_at: Utc | None = None
    revoked_at: Utc | None = None

    @property
    def key(self) -> str:
        """The key's id, which opens nothing."""
        return str(self.id)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key with its secret, which is shown this once and stored as a hash only."""

    api_key: ApiKey
    token: SecretStr


def api_key_named_in(token: str) -> tuple[UUID, UUID] | None:
    """The tenant and id that an API key claims; None where it is none. Proves nothing."""
    found = _API_KEY.fullmatch(token)
    return (UUID(hex=found[1]), UUID(hex=found[2])) if found else None


def session_name(session: UUID, user: UUID) -> str:
    """How a session is named in its tokens: its id, and a part of the hash of its user's."""
    return f"{session.hex}.{user_group(user)}"


def user_group(user: UUID) -> str:
    """What the sessions of a user have in common with each other, and with few other users'."""
    return hashlib.sha256(user.bytes).hexdigest()[:8]


def named_in(token: str) -> tuple[UUID, str] | None:
    """The session and user group that a token claims to be of; None where it claims nothing.

    Proves nothing: whoever has the token's hash decides.
    """
    parts = token.split(".")
    if len(parts) != 4 or not _NAME.fullmatch(f"{parts[1]}.{parts[2]}"):
        return None
    return UUID(hex=parts[1]), parts[2]


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session with its two secrets, which are shown this once and stored as hashes only.

    `token` proves the session until `session.expires_at`; `refresh_token` exchanges both for new
    ones. Each names the tenant in clear, so that whoever gets it knows where to look it up.
    """

    session: Session
    token: SecretStr
    refresh_token: SecretStr


def tenant_of(token: str) -> UUID | None:
    """The tenant whose sessions a token belongs to, if it is one; it proves nothing yet."""
    try:
        return UUID(hex=token.partition(".")[0])
    except ValueError:
        return None
