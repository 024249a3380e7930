"""One part of a stream: content to stored bytes and back, with a digest of either.

Stored bytes are one zstd frame (RFC 8878); under a key it is cut into chunks of 1 MiB, each sealed
with AES-256-GCM (NIST SP 800-38D) under a key of the part's own. The nonce counts the chunks and
marks the last one, so that no chunk can be dropped, doubled or moved (the construction is STREAM,
Hoang et al. 2015); the part's place (run, store, stream, number) is in the derivation of its key.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass

import zstandard
from cryptography.exceptions import InvalidTag

from neo_polystore.backup.keys import SALT, BackupKey
from neo_polystore.errors import ConfigError, IntegrityError

MAGIC = b"NEOBKP1\0"
CHUNK = 1 << 20
LEVEL = 1
"""Much of what is kept here is hashes and addresses between few words, where levels 2 and 3 find no
more and take up to twice as long (`benchmarks/backup.py`: 125 MB against 132 and 137)."""
_TAG = 16
_HEAD = len(MAGIC) + 8 + SALT

_local = threading.local()


@dataclass(frozen=True, slots=True)
class Sealed:
    """A part as it is stored."""

    data: bytes
    sha256: str
    content_bytes: int
    content_sha256: str


def seal(content: bytes | bytearray, *, place: str, key: BackupKey | None) -> Sealed:
    """Compress, encrypt under a key, and digest. Blocks; the same input gives the same bytes."""
    digest = hashlib.sha256(content)
    data = _compressor().compress(content)
    if key is not None:
        data = _encrypt(data, place=place, key=key)
    return Sealed(data, hashlib.sha256(data).hexdigest(), len(content), digest.hexdigest())


def unseal(
    data: bytes, *, place: str, key: BackupKey | None, content_bytes: int, content_sha256: str
) -> bytes:
    """The content of stored bytes; IntegrityError where any of it is not what was sealed."""
    if data[: len(MAGIC)] == MAGIC:
        data = _decrypt(data, place=place, key=key)
    try:
        # looked at before anything is allocated: a forged frame must not fill the memory
        if zstandard.frame_content_size(data) != content_bytes:
            raise IntegrityError(f"{place}: the content is not what was backed up")
        content = zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{place}: does not decompress: {error}") from None
    if len(content) != content_bytes or hashlib.sha256(content).hexdigest() != content_sha256:
        raise IntegrityError(f"{place}: the content is not what was backed up")
    return content


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_local, "compressor"):  # one per thread: they may not be shared
        _local.compressor = zstandard.ZstdCompressor(level=LEVEL)
    found: zstandard.ZstdCompressor = _local.compressor
    return found


def _encrypt(data: bytes, *, place: str, key: BackupKey) -> bytes:
    salt = key.salt(hashlib.sha256(data).digest(), place)
    cipher = key.cipher(salt, place)
    head = MAGIC + bytes.fromhex(key.id) + salt
    out = bytearray(head)
    view = memoryview(data)
    starts = range(0, len(data), CHUNK) or range(1)
    for number, start in enumerate(starts):
        last = start + CHUNK >= len(data)
        out += cipher.encrypt(_nonce(number, last), view[start : start + CHUNK], head)
    return bytes(out)


def _decrypt(data: bytes, *, place: str, key: BackupKey | None) -> bytes:
    key_id = data[len(MAGIC) : len(MAGIC) + 8].hex()
    if key is None or key.id != key_id:
        raise ConfigError(f"{place}: encrypted under key {key_id}, NEO_BACKUP_KEY is another")
    head = data[:_HEAD]
    cipher = key.cipher(head[-SALT:], place)
    out = bytearray()
    view = memoryview(data)[_HEAD:]
    size = CHUNK + _TAG
    try:
        for number, start in enumerate(range(0, len(view), size) or range(1)):
            last = start + size >= len(view)
            out += cipher.decrypt(_nonce(number, last), view[start : start + size], head)
    except (InvalidTag, ValueError):
        raise IntegrityError(f"{place}: was altered, cut short, or belongs elsewhere") from None
    return bytes(out)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
