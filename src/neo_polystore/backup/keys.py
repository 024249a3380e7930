"""The key of encrypted backups: what it derives for parts and manifests."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from neo_polystore.errors import ConfigError

if TYPE_CHECKING:  # the archiver starts a process for each segment: it must be light
    from pydantic import SecretStr

SALT = 16


class BackupKey:
    """32 bytes. `id` names the key without telling it."""

    def __init__(self, material: bytes):
        if len(material) != 32:
            raise ConfigError(f"NEO_BACKUP_KEY has {len(material)} bytes: 32 are needed")
        self._material = material
        self.id = hashlib.sha256(b"neo-polystore backup key id\0" + material).hexdigest()[:16]

    @classmethod
    def of(cls, text: SecretStr | None) -> BackupKey | None:
        """The key of a setting, in hexadecimal or base64; None where there is none."""
        return cls.read(text.get_secret_value()) if text is not None else None

    @classmethod
    def read(cls, text: str) -> BackupKey | None:
        """The same of plain text."""
        value = text.strip()
        if not value:
            return None
        try:
            return cls(bytes.fromhex(value))
        except ValueError:
            pass
        try:
            return cls(base64.b64decode(value, validate=True))
        except (ValueError, binascii.Error):
            raise ConfigError(
                "NEO_BACKUP_KEY is neither hexadecimal nor base64 (`openssl rand -base64 32`)"
            ) from None

    def salt(self, digest: bytes, place: str) -> bytes:
        """The salt for bytes of this digest at one place: the same bytes there are encrypted alike.

        So what was sent before a kill is recognised after it. Other bytes have another key,
        therefore no nonce is ever used twice under one key for different bytes.
        """
        return self._mac(b"salt\0" + place.encode() + b"\0" + digest)[:SALT]

    def cipher(self, salt: bytes, place: str) -> AESGCM:
        """The cipher of one part."""
        info = b"neo-polystore backup part\0" + place.encode()
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info)
        return AESGCM(derive.derive(self._material))

    def sign(self, text: bytes) -> str:
        """What only a holder of the key can say about a manifest."""
        return self._mac(b"manifest\0" + text).hex()

    def _mac(self, text: bytes) -> bytes:
        return hmac.new(self._material, text, hashlib.sha256).digest()
