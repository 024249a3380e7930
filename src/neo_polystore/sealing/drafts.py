"""What goes in and comes out of sealing, and the rules that hold for all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from neo_polystore.records.sealing import Head, Identity


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be sealed; `expected` is the version that is stored (0: none), None: any."""

    data_key: str
    content: bytes | bytearray | memoryview = field(repr=False)
    identity: Identity
    enclave: str = ""
    policy_name: str = ""
    expected: int | None = None
    attestation: UUID | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An item and its content."""

    head: Head
    content: memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenedParts:
    """An item whose MAC has proven right, and its content in parts, each proven as it comes.

    Where a later part was altered, IntegrityError ends them: throw away what came before.
    """

    head: Head
    parts: AsyncIterator[memoryview] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all items: the largest content, days that services' items are kept."""

    largest: int = 64 << 20
    retention: timedelta = timedelta(days=90)
    hardware: bool = False
