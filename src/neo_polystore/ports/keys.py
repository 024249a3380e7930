"""Master keys: who wraps them, and where wrapped ones are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol

State = Literal["active", "retiring", "destroyed"]
"""Seals and opens; opens what is not sealed anew yet; opens nothing, ever again."""


FOREIGN: Final = (
    "the wrapped key was altered, or something else wrapped it (`neo-polystore sealed rewrap`)"
)
"""What a service that refuses a wrapped key can be told to mean."""


class KeyWrapper(Protocol):
    """Encrypts master keys under a key that is kept elsewhere and never comes here.

    `context` is authenticated: what was wrapped under one unwraps under no other. Raises
    ConfigError where the wrapping key is missing, another one or not permitted, IntegrityError for
    wrapped material that was altered, UnavailableError where the service cannot be reached. No
    error says anything of the material.
    """

    @property
    def name(self) -> str:
        """Which kind it is, as the setting names it."""

    async def wrap(self, material: bytes, *, context: str) -> bytes:
        """The material encrypted, another text at each call."""

    async def unwrap(self, wrapped: bytes, *, context: str) -> bytes:
        """The material as it was."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A master key as it is kept; `wrapped` is None once it is destroyed."""

    id: str
    number: int
    state: State
    wrapped: bytes | None = field(repr=False)
    created_at: datetime
    retired_at: datetime | None = None


class KeyStore(Protocol):
    """The wrapped master keys, `sealing:1`, `sealing:2` and so on; at most one is active."""

    async def all(self) -> Sequence[StoredKey]:
        """Every key that there ever was, oldest first."""

    async def get(self, key_id: str) -> StoredKey:
        """One key; NotFoundError."""

    async def active(self) -> StoredKey | None:
        """The key that seals; None before the first."""

    async def succeed(self, number: int, wrapped: bytes, *, reason: str) -> StoredKey:
        """Make `sealing:<number>` the active key and retire the one before, both or neither.

        Waits for those who are sealing under that one. Returns the active key, which is another's
        where somebody was faster.
        """

    async def rewrap(self, key_id: str, wrapped: bytes) -> None:
        """Replace the wrapped material of a key that is not destroyed; NotFoundError."""

    async def destroy(self, key_id: str) -> None:
        """Forget the material of a retiring key; ConflictError where an item still needs it."""
