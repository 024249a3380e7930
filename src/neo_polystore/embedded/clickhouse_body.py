"""The body of a ClickHouse request: content encodings and forms."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from email.parser import BytesParser
from email.policy import HTTP
from importlib import import_module
from typing import IO, Any

from neo_polystore.embedded.clickhouse_errors import (
    CANNOT_DECOMPRESS,
    NOT_IMPLEMENTED,
    UNKNOWN_COMPRESSION_METHOD,
    ClickHouseError,
)

CHUNK = 1024 * 1024


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart form."""
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + body
    )
    fields = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", "", header="content-disposition"))
        if part.get_filename():
            raise ClickHouseError(NOT_IMPLEMENTED, "External data is not supported by this engine")
        payload = part.get_payload(decode=True)
        fields[name] = payload.decode() if isinstance(payload, bytes) else str(payload)
    return fields


def _raw(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(CHUNK):
        yield piece


def decompressed(file: IO[bytes], encoding: str) -> Iterator[bytes]:
    """A posted body, piece by piece, with its Content-Encoding undone."""
    if encoding in ("", "identity"):
        return _raw(file)
    try:
        return _inflate(file, _decompressor_class(encoding))
    except ImportError as error:
        raise ClickHouseError(
            UNKNOWN_COMPRESSION_METHOD, f"{encoding} needs a package that is not installed: {error}"
        ) from error


def _decompressor_class(encoding: str) -> Any:
    if encoding == "gzip":
        return lambda: zlib.decompressobj(31)
    if encoding == "deflate":
        return lambda: zlib.decompressobj(15)
    # What clickhouse-connect compresses with is there where clickhouse-connect is.
    modules = {
        "lz4": ("lz4.frame", "LZ4FrameDecompressor"),
        "zstd": ("clickhouse_connect.driver.compression", "_zstd_decompressor"),
        "br": ("brotli", "Decompressor"),
    }
    if encoding not in modules:
        raise ClickHouseError(UNKNOWN_COMPRESSION_METHOD, f"Unknown Content-Encoding {encoding!r}")
    module, name = modules[encoding]
    return getattr(import_module(module), name)


def _inflate(file: IO[bytes], fresh: Any) -> Iterator[bytes]:
    """Decompress frame after frame: lz4 and zstd bodies hold one per block of rows."""
    decompressor = fresh()
    started = False
    for piece in _raw(file):
        rest = piece
        while rest:
            try:
                if hasattr(decompressor, "process"):
                    yield decompressor.process(rest)
                else:
                    yield decompressor.decompress(rest)
            except Exception as error:
                raise ClickHouseError(CANNOT_DECOMPRESS, f"Cannot decompress: {error}") from error
            started, rest = True, b""
            if getattr(decompressor, "eof", False):
                rest = decompressor.unused_data or b""
                decompressor, started = fresh(), False
    if started and hasattr(decompressor, "eof"):
        raise ClickHouseError(CANNOT_DECOMPRESS, "Cannot decompress: the body ends too early")


def peek(pieces: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """At least `size` bytes from the front (fewer if there are not so many), and the rest."""
    source = iter(pieces)
    front = bytearray()
    for piece in source:
        front += piece
        if len(front) >= size:
            break
    return bytes(front), source
