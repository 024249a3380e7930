"""Seals and opens blobs that are in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from neo_polystore.records.sealing import Binding
from neo_polystore.sealing.cipher import Cipher
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.envelope import (
    NONCE,
    PREFIX,
    SALT,
    TAG,
    Buffer,
    Header,
    damaged,
    parse_header,
)

WHOLE: Final = 1 << 20
"""Bytes up to which a blob is one chunk."""

CHUNK: Final = 1 << 18
LARGE: Final = 1 << 16

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed blob and its MAC (32 bytes), which is kept beside it."""

    blob: memoryview = field(repr=False)
    mac: bytes = field(repr=False)


def new_header(key_id: str, *, chunk: int | None, entropy: Entropy = os.urandom) -> Header:
    """A header with a fresh salt and nonce."""
    return Header(key_id, entropy(SALT), entropy(NONCE if chunk is None else PREFIX), chunk)


def seal(
    content: Buffer,
    *,
    master: MasterKey,
    binding: Binding,
    entropy: Entropy = os.urandom,
) -> Sealed:
    """Seal the content (zero bytes are allowed); over 1 MiB in chunks of 256 KiB."""
    view = memoryview(content).cast("B")
    chunk = CHUNK if len(view) > WHOLE else None
    header = new_header(master.id, chunk=chunk, entropy=entropy)
    encoded = header.encode()
    cipher = Cipher(master, binding, header, encoded)
    blob = _room(len(encoded) + header.sealed_size(len(view)))
    blob[: len(encoded)] = encoded
    sealed = blob[len(encoded) :]
    for number, at, end, last in _chunks(header, len(view)):
        shift = number * TAG
        cipher.encrypt(number, view[at:end], sealed[at + shift : end + shift + TAG], last=last)
    return Sealed(blob, cipher.mac(len(view)))


def unseal(blob: Buffer, mac: bytes, *, master: MasterKey, binding: Binding) -> memoryview:
    """The content. IntegrityError where anything is other than it was when it was sealed.

    The MAC is compared before anything is decrypted, and nothing is returned before everything
    has proven right.
    """
    header, start = parse_header(blob)
    if header.key_id != master.id:
        raise damaged(f"it names the key {header.key_id!r}")
    view = memoryview(blob)
    cipher = Cipher(master, binding, header, bytes(view[:start]))
    sealed = view[start:]
    size = header.plain_size(len(sealed))
    for number, _, end, _ in _chunks(header, size):
        tag = end + number * TAG
        cipher.tagged(sealed[tag : tag + TAG])
    cipher.check(size, mac)
    content = _room(size)
    for number, at, end, last in _chunks(header, size):
        shift = number * TAG
        cipher.decrypt(number, sealed[at + shift : end + shift + TAG], content[at:end], last=last)
    return content


def _room(size: int) -> memoryview:
    """So many bytes to be written. Where they are many they are not zeroed first: every byte is
    overwritten, and zeroing takes half as long as encrypting."""
    if size < LARGE:
        return memoryview(bytearray(size))
    import numpy as np  # a tenth of a second, for the few that are large

    return np.empty(size, np.uint8).data


def _chunks(header: Header, size: int) -> Iterator[tuple[int, int, int, bool]]:
    """Number, start, end and whether it is the last, of each chunk of the content."""
    step = header.chunk or max(size, 1)
    ends = range(step, size + step, step) if size else (0,)
    for number, end in enumerate(ends):
        yield number, number * step, min(end, size), end >= size
