"""Seals and opens content of any size with the memory of two chunks."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from neo_polystore.records.sealing import Binding
from neo_polystore.sealing.blob import CHUNK, Entropy, new_header
from neo_polystore.sealing.cipher import Cipher
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.envelope import (
    LONGEST_HEADER,
    TAG,
    Buffer,
    Header,
    damaged,
    parse_header,
)


class StreamSealer:
    """Writes the sealed form of what it is given, part by part, to a file.

    A chunk goes out when more is known to follow it: the last one is marked in its nonce.
    """

    def __init__(
        self,
        target: BinaryIO,
        *,
        master: MasterKey,
        binding: Binding,
        chunk: int = CHUNK,
        entropy: Entropy = os.urandom,
    ):
        header = new_header(master.id, chunk=chunk, entropy=entropy)
        encoded = header.encode()
        self._cipher = Cipher(master, binding, header, encoded)
        self._target = target
        self._chunk = chunk
        self._room = bytearray(chunk + TAG)
        self._held = bytearray()
        self._number = 0
        self.size = 0
        target.write(encoded)

    def write(self, part: Buffer) -> None:
        """Take the next bytes of the content, any number of them."""
        self.size += len(part)
        self._held += part
        while len(self._held) > self._chunk:
            self._put(self._chunk, last=False)

    def finish(self) -> bytes:
        """Write the last chunk; the MAC, to be kept beside what was written."""
        self._put(len(self._held), last=True)
        return self._cipher.mac(self.size)

    def _put(self, size: int, *, last: bool) -> None:
        sealed = memoryview(self._room)[: size + TAG]
        with memoryview(self._held) as held, held[:size] as plain:
            self._cipher.encrypt(self._number, plain, sealed, last=last)
        self._target.write(sealed)
        self._number += 1
        del self._held[:size]


class StreamOpener:
    """Opens a sealed file whose parts come from somewhere: check the MAC first, then each chunk.

    `size` is the content's, as the sealed file's length tells.
    """

    def __init__(self, header: Header, start: int, size: int, cipher: Cipher):
        self.size = size
        self._header = header
        self._start = start
        self._cipher = cipher
        self._step = header.chunk or max(size, 1)
        self.count = max(1, -(-size // self._step))

    @classmethod
    def of(
        cls, beginning: Buffer, length: int, *, master: MasterKey, binding: Binding
    ) -> StreamOpener:
        """From its first bytes and its length; IntegrityError for what is no envelope of the key.

        `beginning` is the file's first LONGEST_HEADER bytes, or all of it.
        """
        header, start = parse_header(beginning)
        if header.key_id != master.id:
            raise damaged(f"it names the key {header.key_id!r}")
        size = header.plain_size(length - start)
        encoded = bytes(memoryview(beginning)[:start])
        return cls(header, start, size, Cipher(master, binding, header, encoded))

    def tags(self) -> Iterator[int]:
        """Where the tag of each chunk begins."""
        for number in range(self.count):
            yield self._start + min((number + 1) * self._step, self.size) + number * TAG

    def check(self, tags: list[bytes], mac: bytes) -> None:
        """IntegrityError unless these tags and this size have the MAC."""
        for tag in tags:
            self._cipher.tagged(tag)
        self._cipher.check(self.size, mac)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Where each sealed chunk begins, and its length with the tag."""
        for number in range(self.count):
            at = number * self._step
            yield self._start + at + number * TAG, min(self._step, self.size - at) + TAG

    def open(self, number: int, sealed: Buffer) -> memoryview:
        """The content of a chunk; IntegrityError where it was altered."""
        plain = memoryview(bytearray(max(0, len(sealed) - TAG)))
        self._cipher.decrypt(number, sealed, plain, last=number == self.count - 1)
        return plain


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
    sealer = StreamSealer(target, master=master, binding=binding, chunk=chunk, entropy=entropy)
    while part := source.read(chunk):
        sealer.write(part)
    return sealer.finish()


def open_stream(
    source: BinaryIO, target: BinaryIO, mac: bytes, *, master: MasterKey, binding: Binding
) -> int:
    """Write the content of a sealed file; how many bytes it has.

    `source` is read twice, so it must be seekable: the MAC is compared before anything is
    decrypted. A chunk is written when it has proven right; where a later one has not,
    IntegrityError says so and what was written is to be thrown away.
    """
    first = source.tell()
    beginning = source.read(LONGEST_HEADER)
    length = source.seek(0, io.SEEK_END) - first
    opener = StreamOpener.of(beginning, length, master=master, binding=binding)

    def part(at: int, size: int) -> bytes:
        source.seek(first + at)
        return source.read(size)

    opener.check([part(at, TAG) for at in opener.tags()], mac)
    target.writelines(
        opener.open(number, part(at, size)) for number, (at, size) in enumerate(opener.chunks())
    )
    return opener.size
