"""Passwords as argon2id hashes; every call here is slow on purpose and belongs into a thread."""

from __future__ import annotations

import secrets
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

UNUSABLE = "!"
"""The stored hash of a user without a password; no password matches it."""

_HASHER = PasswordHasher()


def hashed(password: str) -> str:
    """A salted argon2id hash in its encoded form, with the library's recommended cost."""
    return _HASHER.hash(_bytes(password))


def matches(stored: str, password: str) -> bool:
    """Whether the password belongs to the hash; takes as long where the hash is unusable."""
    usable = stored.startswith("$argon2")
    try:
        return _HASHER.verify(stored if usable else _dummy(), _bytes(password)) and usable
    except (VerificationError, InvalidHashError):
        return False


def renewed(stored: str, password: str) -> str | None:
    """A hash with today's cost for the right password; None where the stored one has it."""
    return hashed(password) if _HASHER.check_needs_rehash(stored) else None


def _bytes(password: str) -> bytes:
    """UTF-8; what no UTF-8 can hold is a wrong password, not an error."""
    return password.encode(errors="surrogatepass")


@lru_cache(maxsize=1)
def _dummy() -> str:
    return _HASHER.hash(secrets.token_hex(16))
