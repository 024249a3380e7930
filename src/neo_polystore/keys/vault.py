"""Wraps master keys by the transit engine of HashiCorp Vault, or of OpenBao."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request

from neo_polystore.errors import ConfigError, IntegrityError, PolystoreError, UnavailableError
from neo_polystore.outward import MOST, PATIENCE, checked_url, make_opener
from neo_polystore.ports.keys import FOREIGN, KeyWrapper


class VaultWrapper:
    """`transit/encrypt` and `transit/decrypt` of one key; the context is its associated data.

    API: https://developer.hashicorp.com/vault/api-docs/secret/transit. The key must be of an AEAD
    type (`aes256-gcm96`, the default, or `chacha20-poly1305`).
    """

    name = "vault"

    def __init__(
        self,
        key: str,
        *,
        url: str,
        token: str,
        mount: str = "transit",
        namespace: str | None = None,
    ):
        base = checked_url(url, name="NEO_VAULT_URL")
        self._base = f"{base}/v1/{quote(mount.strip('/'))}"
        self._key = quote(key, safe="")
        self._headers = {"X-Vault-Token": token, "Content-Type": "application/json"}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace
        self._opener = make_opener()

    async def wrap(self, material: bytes, *, context: str) -> bytes:
        """The material encrypted by Vault, as its text `vault:v1:...`."""
        answer = await self._call("encrypt", context, plaintext=_text(material))
        return str(answer.get("ciphertext", "")).encode()

    async def unwrap(self, wrapped: bytes, *, context: str) -> bytes:
        """The material, decrypted by Vault."""
        ciphertext = wrapped.decode(errors="replace")
        answer = await self._call("decrypt", context, ciphertext=ciphertext)
        try:
            return base64.b64decode(answer["plaintext"], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise UnavailableError("Vault answered without a key", operation="vault") from None

    async def _call(self, verb: str, context: str, **members: str) -> dict[str, Any]:
        body = json.dumps({**members, "associated_data": _text(context.encode())}).encode()
        request = Request(  # noqa: S310 - the scheme was checked
            f"{self._base}/{verb}/{self._key}", data=body, headers=self._headers, method="POST"
        )
        try:
            data = await asyncio.to_thread(self._send, request)
        except HTTPError as error:
            with error:
                detail = error.read(MOST)
            raise _refused(error.code, detail, verb) from None
        except (URLError, HTTPException, OSError, ValueError) as error:
            raise UnavailableError(
                f"Vault cannot be reached: {type(error).__name__}", operation=f"vault.{verb}"
            ) from None
        return data

    def _send(self, request: Request) -> dict[str, Any]:
        with self._opener.open(request, timeout=PATIENCE) as answer:
            found: dict[str, Any] = json.loads(answer.read(MOST))["data"]
            return found


def _refused(code: int, detail: bytes, verb: str) -> PolystoreError:
    """400 is for a ciphertext that does not decrypt, 403 and 404 for token, key and mount."""
    operation = f"vault.{verb}"
    if code == 400 and verb == "decrypt":
        return IntegrityError(f"Vault refused: {FOREIGN}", operation=operation)
    if code == 429 or code >= 500:
        return UnavailableError(f"Vault answered {code}", operation=operation)
    hint = "permission denied" if b"permission denied" in detail else "check token, key and mount"
    return ConfigError(f"Vault refused with {code}: {hint}", operation=operation)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


_: type[KeyWrapper] = VaultWrapper
