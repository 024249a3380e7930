"""The header of an envelope, version 1; docs/sealing.md describes the format with an example."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from neo_polystore.errors import IntegrityError

MAGIC: Final = b"NPS1"
SUITE: Final = 1
"""AES-256-GCM, HKDF-SHA256, HMAC-SHA256."""

CHUNKED: Final = 1
SALT: Final = 32
NONCE: Final = 12
PREFIX: Final = 7
TAG: Final = 16
LARGEST_CHUNK: Final = 1 << 24
LARGEST_KEY_ID: Final = 255
LONGEST_HEADER: Final = 7 + LARGEST_KEY_ID + SALT + NONCE + TAG
"""No header has more bytes; with a tag, because no envelope is shorter than that."""

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Header:
    """`nonce` has 12 bytes, or is the prefix of 7 bytes where the content comes in chunks."""

    key_id: str
    salt: bytes
    nonce: bytes
    chunk: int | None = None

    def encode(self) -> bytes:
        """The bytes before the ciphertext."""
        key_id = self.key_id.encode()
        flags = 0 if self.chunk is None else CHUNKED
        fixed = MAGIC + bytes((SUITE, flags, len(key_id))) + key_id + self.salt + self.nonce
        return fixed if self.chunk is None else fixed + struct.pack(">I", self.chunk)

    def sealed_size(self, plain: int) -> int:
        """Bytes of the ciphertext with its tags, for so many bytes of content."""
        chunks = 1 if self.chunk is None else max(1, -(-plain // self.chunk))
        return plain + chunks * TAG

    def plain_size(self, sealed: int) -> int:
        """Bytes of the content in so many bytes of ciphertext; IntegrityError for no such size."""
        if self.chunk is None:
            plain = sealed - TAG
        else:
            chunks = max(1, -(-sealed // (self.chunk + TAG)))
            plain = sealed - chunks * TAG
        if plain < 0 or self.sealed_size(plain) != sealed:
            raise damaged("its length fits no content")
        return plain


def parse_header(blob: Buffer) -> tuple[Header, int]:
    """The header and where the ciphertext begins; IntegrityError for what is no envelope."""
    view = memoryview(blob)
    if bytes(view[:4]) != MAGIC:
        raise damaged("it was not sealed here, or its first bytes were altered")
    if len(view) < 7 or view[4] != SUITE or view[5] not in (0, CHUNKED) or view[6] == 0:
        raise damaged("its suite or flags are unknown")
    at = 7 + view[6]
    nonce, tail = (PREFIX, 4) if view[5] == CHUNKED else (NONCE, 0)
    if len(view) < at + SALT + nonce + tail + TAG:
        raise damaged("it is cut off")
    try:
        key_id = bytes(view[7:at]).decode()
    except UnicodeDecodeError:
        raise damaged("its key id is no text") from None
    salt = bytes(view[at : at + SALT])
    at += SALT
    prefix = bytes(view[at : at + nonce])
    at += nonce
    if not tail:
        return Header(key_id, salt, prefix), at
    (chunk,) = struct.unpack(">I", view[at : at + 4])
    if not 0 < chunk <= LARGEST_CHUNK:
        raise damaged(f"its chunk size {chunk} is not between 1 and {LARGEST_CHUNK}")
    return Header(key_id, salt, prefix, chunk), at + 4


def damaged(reason: str) -> IntegrityError:
    """The error for a blob that does not open."""
    return IntegrityError(f"the sealed blob does not open: {reason}", operation="sealing")
