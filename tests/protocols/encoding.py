"""A second encoder of remote write, written from the specification: Protobuf's wire format by hand.

It shares nothing with the package's decoder, nor with its Protobuf library.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import cramjam

Labels = Mapping[str, str] | Sequence[tuple[str | bytes, str | bytes]]
Sample = tuple[int, float]
"""Milliseconds and value."""

STALE_MARKER = 0x7FF0000000000002


def varint(number: int) -> bytes:
    """Base 128, least significant first; negative numbers in two's complement of 64 bits."""
    number &= 2**64 - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def piece(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def from_bits(pattern: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", pattern))[0])


def sample(time: int, value: float, start: int = 0) -> bytes:
    """As Go encodes it: what is zero is left out."""
    out = b"" if bits(value) == bytes(8) else b"\x09" + bits(value)
    out += b"" if time == 0 else b"\x10" + varint(time)
    return out + (b"\x18" + varint(start) if start else b"")


def _text(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def pairs(labels: Labels) -> list[tuple[bytes, bytes]]:
    """Sorted where they come as a mapping, in the given order otherwise."""
    items = sorted(labels.items()) if isinstance(labels, Mapping) else labels
    return [(_text(name), _text(value)) for name, value in items]


def series_1(
    labels: Labels, samples: Sequence[Sample], *, exemplars: int = 0, histograms: int = 0
) -> bytes:
    """A TimeSeries of 1.0."""
    out = b"".join(piece(1, piece(1, name) + piece(2, value)) for name, value in pairs(labels))
    out += b"".join(piece(2, sample(*one)) for one in samples)
    return out + exemplars * piece(3, b"") + histograms * piece(4, b"")


def request_1(*series: bytes) -> bytes:
    """A prometheus.WriteRequest."""
    return b"".join(piece(1, one) for one in series)


class Request2:
    """Builds an io.prometheus.write.v2.Request."""

    def __init__(self) -> None:
        self.symbols: list[bytes] = [b""]
        self.series: list[bytes] = []

    def symbol(self, text: bytes) -> int:
        if text not in self.symbols:
            self.symbols.append(text)
        return self.symbols.index(text)

    def add(
        self,
        labels: Labels,
        samples: Sequence[Sample],
        *,
        unit: str = "",
        start: int = 0,
        exemplars: int = 0,
        histograms: int = 0,
    ) -> None:
        references = [self.symbol(text) for pair in pairs(labels) for text in pair]
        self.refer(references, samples, unit=unit, start=start)
        self.series[-1] += histograms * piece(3, b"") + exemplars * piece(4, b"")

    def refer(
        self,
        references: Sequence[int],
        samples: Sequence[Sample],
        *,
        unit: str = "",
        start: int = 0,
    ) -> None:
        out = piece(1, b"".join(map(varint, references)))
        out += b"".join(piece(2, sample(*one, start)) for one in samples)
        reference = self.symbol(unit.encode())
        out += piece(5, b"\x08\x01" + (b"\x20" + varint(reference) if reference else b""))
        self.series.append(out)

    def encoded(self) -> bytes:
        return b"".join(piece(4, one) for one in self.symbols) + b"".join(
            piece(5, one) for one in self.series
        )


def compressed(message: bytes) -> bytes:
    """A snappy block."""
    return bytes(cramjam.snappy.compress_raw(message))


HEADERS_1 = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
HEADERS_2 = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}
