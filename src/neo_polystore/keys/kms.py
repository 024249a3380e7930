"""Wraps master keys under a key of AWS KMS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from neo_polystore.errors import ConfigError, IntegrityError, PolystoreError, UnavailableError
from neo_polystore.ports.keys import FOREIGN, KeyWrapper

_CONTEXT: Final = "neo-polystore-key"
_ALTERED: Final = frozenset({"InvalidCiphertextException"})
_LATER: Final = frozenset(
    {
        "DependencyTimeoutException",
        "KMSInternalException",
        "KeyUnavailableException",
        "ThrottlingException",
        "LimitExceededException",
    }
)


class KmsWrapper:
    """`Encrypt` and `Decrypt` of one KMS key; the context is its encryption context.

    Credentials are those of boto3's own chain, or the ones given.
    """

    name = "kms"

    def __init__(
        self,
        key_id: str,
        *,
        region: str,
        endpoint_url: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
    ):
        self._key_id = key_id
        self._options = {
            "region_name": region,
            "endpoint_url": endpoint_url,
            "aws_access_key_id": access_key_id,
            "aws_secret_access_key": secret_access_key,
        }
        self._made: Any = None

    async def wrap(self, material: bytes, *, context: str) -> bytes:
        """The material encrypted by KMS."""
        answer = await self._call(
            "encrypt", KeyId=self._key_id, Plaintext=material, EncryptionContext=_of(context)
        )
        return bytes(answer["CiphertextBlob"])

    async def unwrap(self, wrapped: bytes, *, context: str) -> bytes:
        """The material, decrypted by KMS under this key only."""
        answer = await self._call(
            "decrypt", KeyId=self._key_id, CiphertextBlob=wrapped, EncryptionContext=_of(context)
        )
        return bytes(answer["Plaintext"])

    async def _call(self, operation: str, **request: Any) -> Any:
        def call() -> Any:
            if self._made is None:
                # boto3's default session is not safe across threads, one of our own is
                config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard"})
                untyped: Callable[..., Any] = boto3.session.Session().client
                self._made = untyped("kms", config=config, **self._options)
            return getattr(self._made, operation)(**request)

        try:
            return await asyncio.to_thread(call)
        except ClientError as error:
            raise _translated(error, operation) from None
        except BotoCoreError as error:
            raise UnavailableError(
                f"KMS cannot be reached: {type(error).__name__}", operation=f"kms.{operation}"
            ) from None


def _of(context: str) -> dict[str, str]:
    return {_CONTEXT: context}


def _translated(error: ClientError, operation: str) -> PolystoreError:
    code = error.response.get("Error", {}).get("Code", "")
    kind: type[PolystoreError] = ConfigError
    if code in _ALTERED:
        kind = IntegrityError
    elif code in _LATER:
        kind = UnavailableError
    text = FOREIGN if kind is IntegrityError else code
    return kind(f"KMS refused: {text}", operation=f"kms.{operation}")


_: type[KeyWrapper] = KmsWrapper
