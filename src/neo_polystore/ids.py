"""Identifiers: time-ordered UUIDs for new rows, name-based ones where a key must be derivable."""

from __future__ import annotations

import secrets
import time
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1f3a5e-7f0f-5d0e-9a86-3f0d7d1f4c11")

SYSTEM_TENANT = UUID("00000000-0000-7000-8000-000000000001")
"""Owns system roles and what the platform itself loads (created by the first migration)."""

SYSTEM_USER = UUID("00000000-0000-7000-8000-000000000002")
"""Stands for the platform where a record needs a user and no person acted."""


def uuid7() -> UUID:
    """A UUID version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    high = milliseconds << 16 | 0x7000 | random >> 62
    low = 0b10 << 62 | random & (1 << 62) - 1
    return UUID(int=high << 64 | low)


def derived_uuid(*parts: str) -> UUID:
    """The same UUID for the same parts, on every machine (version 5, length-prefixed parts)."""
    return uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts))
