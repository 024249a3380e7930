"""Seals and opens files of any size with the memory of two chunks."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from neo_polystore.records.sealing import Binding
from neo_polystore.sealing.blob import CHUNK, Entropy, new_header
from neo_polystore.sealing.cipher import Cipher
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.envelope import (
    LARGEST_KEY_ID,
    NONCE,
    SALT,
    TAG,
    damaged,
    parse_header,
)

_LONGEST_HEADER = 7 + LARGEST_KEY_ID + SALT + NONCE + TAG


def seal_stream(
    source: BinaryIO,
    target: BinaryIO,
    *,
    master: MasterKey,
    binding: Binding,
    chunk: int = CHUNK,
    entropy: Entropy = os.urandom,
) -> bytes:
    """Write the sealed form of all that `source` holds; the MAC, to be kept beside it."""
    header = new_header(master.id, chunk=chunk, entropy=entropy)
    cipher = Cipher(master, binding, header)
    target.write(header.encode())
    room = bytearray(chunk + TAG)
    size = number = 0
    content = _read(source, chunk)
    while True:
        following = _read(source, chunk) if len(content) == chunk else b""
        sealed = memoryview(room)[: len(content) + TAG]
        cipher.encrypt(number, content, sealed, last=not following)
        target.write(sealed)
        size += len(content)
        if not following:
            return cipher.mac(size)
        content, number = following, number + 1


def open_stream(
    source: BinaryIO, target: BinaryIO, mac: bytes, *, master: MasterKey, binding: Binding
) -> int:
    """Write the content of a sealed file; how many bytes it has.

    `source` is read twice, so it must be seekable: the MAC is compared before anything is
    decrypted. A chunk is written when it has proven right; where a later one has not,
    IntegrityError says so and what was written is to be thrown away.
    """
    first = source.tell()
    header, start = parse_header(source.read(_LONGEST_HEADER))
    if header.key_id != master.id:
        raise damaged(f"it names the key {header.key_id!r}")
    size = header.plain_size(source.seek(0, io.SEEK_END) - first - start)
    cipher = Cipher(master, binding, header)
    step = header.chunk or max(size, 1)
    count = max(1, -(-size // step))
    for number in range(count):
        end = first + start + min((number + 1) * step, size) + number * TAG
        source.seek(end)
        cipher.tagged(source.read(TAG))
    cipher.check(size, mac)
    source.seek(first + start)
    room = bytearray(min(step, size))
    for number in range(count):
        plain = memoryview(room)[: min(step, size - number * step)]
        sealed = _read(source, len(plain) + TAG)
        cipher.decrypt(number, sealed, plain, last=number == count - 1)
        target.write(plain)
    return size


def _read(source: BinaryIO, size: int) -> bytes:
    """So many bytes, fewer only at the end: a pipe gives what it has."""
    parts = []
    while size and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
