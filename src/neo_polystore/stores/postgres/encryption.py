"""Small secrets at rest: AES-256-GCM under a key from the settings, bound to where they stand."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from neo_polystore.errors import ConfigError, IntegrityError
from neo_polystore.records.key_text import key_of_text

_VERSION = "v1"
_NONCE = 12


class SecretBox:
    """Encrypts and decrypts; `place` is authenticated, so that no ciphertext can be moved.

    The text form is `v1.<which key>.<nonce and ciphertext in base64url>`.
    """

    def __init__(self, key: SecretStr | None):
        material = _material(key)
        self._aead = AESGCM(material)
        self._id = hashlib.sha256(b"neo-polystore key id\0" + material).hexdigest()[:8]

    def encrypt(self, secret: bytes, *, place: str) -> str:
        """The secret in its text form, another one at each call."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._aead.encrypt(nonce, secret, place.encode())
        return f"{_VERSION}.{self._id}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, text: str, *, place: str) -> bytes:
        """The secret; ConfigError under another key, IntegrityError where it is not ours."""
        try:
            version, key_id, payload = text.split(".")
            sealed = base64.b64decode(payload, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise IntegrityError("the stored secret is not one of ours") from None
        if version == _VERSION and key_id != self._id:
            raise ConfigError(f"NEO_SECRETS_KEY is another key than the one ({key_id}) used here")
        try:
            return self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], place.encode())
        except (InvalidTag, ValueError):
            raise IntegrityError("the stored secret was altered, or belongs elsewhere") from None


def _material(key: SecretStr | None) -> bytes:
    if key is None or not key.get_secret_value():
        raise ConfigError(
            "MFA secrets are stored encrypted: set NEO_SECRETS_KEY (`openssl rand -base64 32`)"
        )
    return key_of_text(key.get_secret_value(), name="NEO_SECRETS_KEY")
