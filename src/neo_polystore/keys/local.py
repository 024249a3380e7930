"""Wraps master keys under a key from the environment or from a file that only its owner reads."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from neo_polystore.errors import ConfigError, IntegrityError
from neo_polystore.ports.keys import KeyWrapper
from neo_polystore.records.key_text import SIZE, key_of_text

_NONCE: Final = 12
_ID: Final = 8
_LABEL: Final = b"neo_polystore wrapped key 1\0"


class LocalWrapper:
    """AES-256-GCM; the wrapped form is 8 bytes that tell keys apart, nonce, ciphertext and tag."""

    name = "local"

    def __init__(self, material: bytes):
        self._aead = AESGCM(material)
        self._id = hashlib.sha256(b"neo_polystore wrapping key id\0" + material).digest()[:_ID]

    async def wrap(self, material: bytes, *, context: str) -> bytes:
        """The material encrypted."""
        nonce = secrets.token_bytes(_NONCE)
        return self._id + nonce + self._aead.encrypt(nonce, material, _LABEL + context.encode())

    async def unwrap(self, wrapped: bytes, *, context: str) -> bytes:
        """The material; ConfigError under another wrapping key, IntegrityError where altered."""
        if wrapped[:_ID] != self._id:
            raise ConfigError(
                f"SGX_ENCRYPTION_KEY is another key than the one that wrapped {context}",
                operation="unwrap",
            )
        nonce, sealed = wrapped[_ID : _ID + _NONCE], wrapped[_ID + _NONCE :]
        try:
            return self._aead.decrypt(nonce, sealed, _LABEL + context.encode())
        except (InvalidTag, ValueError):
            raise IntegrityError(
                f"the wrapped key {context} was altered, or is another's", operation="unwrap"
            ) from None


def key_from_file(path: Path, *, create: bool = False) -> bytes:
    """The key in a file; ConfigError where it is missing, no key, or readable by others.

    `create` makes a new one where the file is missing, durable before it is used. Of several
    processes that do so at once all get the same key.
    """
    if create and not path.exists():
        _make(path)
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{path} can be read by others: chmod 600 it")
        return key_of_text(path.read_text(), name=str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ConfigError(f"the key file {path} cannot be read: {reason}") from None


def _make(path: Path) -> None:
    """Whole or not at all: a link to a complete file appears, or somebody else's is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(SIZE)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(made)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        made.unlink()


_: type[KeyWrapper] = LocalWrapper
