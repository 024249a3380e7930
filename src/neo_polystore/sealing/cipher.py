"""One blob's encryption, chunk by chunk: STREAM (Hoang, Reyhanitabar, Rogaway, Vizar, 2015)."""

from __future__ import annotations

import hmac
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from neo_polystore.records.sealing import Binding
from neo_polystore.sealing.derivation import MasterKey, associated_data
from neo_polystore.sealing.envelope import TAG, Buffer, Header, damaged

MAC_LABEL: Final = b"neo_polystore seal mac 1"
MOST_CHUNKS: Final = 1 << 32


class Cipher:
    """Encrypts or decrypts the chunks of one blob in their order, and computes its MAC.

    The MAC is HMAC-SHA256 over the associated data (which ends with the header), the tag of every
    chunk and the size of the content. A tag vouches for each byte of its chunk, so the MAC binds
    all of them without reading them a second time.
    """

    def __init__(self, master: MasterKey, binding: Binding, header: Header, encoded: bytes):
        """`encoded` is the header as it stands before the ciphertext."""
        encryption, authentication = master.derive(header.salt, binding.identity)
        self._aead = AESGCM(encryption)
        self._header = header
        self._data = associated_data(binding, encoded)
        self._key = authentication
        # kept until all tags are there: at once is a fifth of the time of piece by piece
        self._vouched = bytearray(MAC_LABEL + struct.pack(">Q", len(self._data)) + self._data)

    def encrypt(self, number: int, plain: Buffer, sealed: Buffer, *, last: bool) -> None:
        """Write chunk `number` (from 0) with its tag into `sealed`, 16 bytes longer than it."""
        self._aead.encrypt_into(self._nonce(number, last), plain, self._data, sealed)
        self.tagged(memoryview(sealed)[-TAG:])

    def decrypt(self, number: int, sealed: Buffer, plain: Buffer, *, last: bool) -> None:
        """Write the content of chunk `number` into `plain`; IntegrityError where it was altered."""
        try:
            self._aead.decrypt_into(self._nonce(number, last), sealed, self._data, plain)
        except InvalidTag:
            raise damaged("its content was altered, cut off or put in another order") from None

    def tagged(self, tag: Buffer) -> None:
        """Count the next chunk's tag into the MAC."""
        self._vouched += tag

    def mac(self, size: int) -> bytes:
        """The MAC, 32 bytes, when every tag was counted; `size` is the content's in bytes."""
        return hmac.digest(self._key, self._vouched + struct.pack(">Q", size), "sha256")

    def check(self, size: int, mac: bytes) -> None:
        """IntegrityError unless this is the MAC; in constant time."""
        if not hmac.compare_digest(self.mac(size), mac):
            raise damaged("its MAC is another: blob, MAC or what it is bound to was altered")

    def _nonce(self, number: int, last: bool) -> bytes:
        if self._header.chunk is None:
            return self._header.nonce
        if number >= MOST_CHUNKS:
            raise OverflowError("more chunks than their counter counts")
        return self._header.nonce + struct.pack(">IB", number, last)
