"""Identifiers: time-ordered UUIDs for new rows, name-based ones where a key must be derivable."""

from __future__ import annotations

import os
import time
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1f3a5e-7f0f-5d0e-9a86-3f0d7d1f4c11")

SYSTEM_TENANT = UUID("00000000-0000-7000-8000-000000000001")
"""Owns system roles and what the platform itself loads (created by the first migration)."""

SYSTEM_USER = UUID("00000000-0000-7000-8000-000000000002")
"""Stands for the platform where a record needs a user and no person acted."""


_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_RANDOM = 0xFFF << 64 | (1 << 62) - 1


def uuid7() -> UUID:
    """A UUID version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 74 random bits."""
    random = int.from_bytes(os.urandom(10)) & _RANDOM
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=milliseconds << 80 | random | _VERSION_AND_VARIANT)


def derived_uuid(*parts: str) -> UUID:
    """The same UUID for the same parts, on every machine (version 5, length-prefixed parts)."""
    return uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts))
