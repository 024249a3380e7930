"""From a master key and what a blob is bound to: its keys and its associated data."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from neo_polystore.records.sealing import Binding, Identity, Owner, UserOwner
from neo_polystore.sealing.envelope import LARGEST_KEY_ID

KEY_LABEL: Final = b"neo_polystore seal key 1"
DATA_LABEL: Final = b"neo_polystore seal data 1"
MASTER: Final = 32


class MasterKey:
    """32 bytes that blobs' keys are derived from; never shown, zeroed by `wipe`."""

    __slots__ = ("_material", "id")

    def __init__(self, key_id: str, material: bytes | bytearray):
        if len(material) != MASTER:
            raise ValueError(f"a master key has {MASTER} bytes")
        if not 0 < len(key_id.encode()) <= LARGEST_KEY_ID:
            raise ValueError(f"a key id has 1 to {LARGEST_KEY_ID} bytes")
        self.id = key_id
        self._material = bytearray(material)

    def __repr__(self) -> str:
        return f"MasterKey({self.id!r})"

    def __reduce__(self) -> str:
        raise TypeError("a master key is not pickled")

    def wipe(self) -> None:
        """Overwrite the material; the key derives nothing afterwards."""
        self._material[:] = bytes(len(self._material))
        self._material.clear()

    def derive(self, salt: bytes, identity: Identity) -> tuple[bytes, bytes]:
        """The encryption key and the MAC key of one blob, 32 bytes each (HKDF, RFC 5869)."""
        if not self._material:
            raise ValueError(f"the master key {self.id} was wiped")
        info = KEY_LABEL + encode_identity(identity)
        both = HKDF(SHA256(), 2 * MASTER, salt, info).derive(self._material)
        return both[:MASTER], both[MASTER:]


@lru_cache(256)
def encode_identity(identity: Identity) -> bytes:
    """Policy and what it names, unambiguously: each part after its length."""
    parts = [identity.policy.encode()]
    if identity.label is not None:
        parts.append(identity.label.encode())
    else:
        parts.append(bytes.fromhex(identity.measurement or ""))
    if identity.policy == "MRSIGNER":
        parts.append(struct.pack(">HH", identity.product_id or 0, identity.svn_floor or 0))
    return _lengthy(tuple(parts))


@lru_cache(256)
def _owner(owner: Owner) -> bytes:
    if isinstance(owner, UserOwner):
        return DATA_LABEL + _lengthy((b"user", owner.tenant.bytes, owner.user.bytes))
    return DATA_LABEL + _lengthy((b"service", b"", owner.service.encode()))


def associated_data(binding: Binding, header: bytes) -> bytes:
    """What is authenticated with the content: all that the blob is bound to, and its header."""
    key = binding.data_key.encode()
    return b"".join(
        (
            _owner(binding.owner),
            len(key).to_bytes(4, "big"),
            key,
            _shared(binding.enclave, binding.policy_name, binding.identity),
            _VERSION.pack(8, binding.version, len(header)),
            header,
        )
    )


_VERSION: Final = struct.Struct(">IQI")


@lru_cache(256)
def _shared(enclave: str, policy_name: str, identity: Identity) -> bytes:
    """What many blobs have in common."""
    return _lengthy((enclave.encode(), policy_name.encode(), encode_identity(identity)))


def _lengthy(parts: Sequence[bytes]) -> bytes:
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])
