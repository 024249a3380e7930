"""Decompresses bodies with a bound: nobody makes us allocate more than the settings allow."""

from __future__ import annotations

import zlib

import cramjam

from neo_polystore.protocols.errors import MalformedError, TooLargeError

_GZIP = 31
"""zlib's window bits for a gzip header and trailer."""
_LENGTH_BYTES = 5
"""A length of 32 bits takes at most so many bytes of a varint."""


def snappy_block(body: bytes, *, most: int) -> bytes:
    """The content of a snappy block; its stated length is checked before anything is allocated.

    https://github.com/google/snappy/blob/main/format_description.txt
    """
    length = _stated_length(body)
    if length > most:
        raise TooLargeError(f"decompressed to {length:,} bytes, at most {most:,} are taken")
    try:
        content = bytes(cramjam.snappy.decompress_raw(body))
    except (cramjam.DecompressionError, ValueError) as error:
        raise MalformedError(f"not snappy in block format: {error}") from None
    if len(content) != length:
        raise MalformedError("not snappy in block format: the length is another than stated")
    return content


def _stated_length(body: bytes) -> int:
    length = 0
    for place, byte in enumerate(body[:_LENGTH_BYTES]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return length
    raise MalformedError("not snappy in block format: no length at the beginning")


def gzip_content(body: bytes, *, most: int) -> bytes:
    """The content of gzip members, one after the other (RFC 1952)."""
    content = bytearray()
    rest = body
    while rest:
        inflate = zlib.decompressobj(_GZIP)
        try:
            content += inflate.decompress(rest, most - len(content) + 1)
        except zlib.error as error:
            raise MalformedError(f"damaged gzip: {error}") from None
        if len(content) > most:
            raise TooLargeError(f"decompressed to more than {most:,} bytes")
        if not inflate.eof:
            raise MalformedError("damaged gzip: it ends too early")
        rest = inflate.unused_data
    return bytes(content)
