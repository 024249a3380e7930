"""Remote write: what the decoder reads is what a second encoder wrote; nonsense is told as such."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_polystore.errors import UsageError
from neo_polystore.protocols.compression import gzip_content, snappy_block
from neo_polystore.protocols.limits import Naming
from neo_polystore.protocols.remote_write import Decoded, RemoteWrite
from tests.protocols.encoding import Request2, Sample, compressed, piece, request_1, series_1

MILLISECONDS = st.integers(-(2**63), 2**63 - 1) | st.integers(1_700_000_000_000, 1_800_000_000_000)
PATTERNS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 0x7FF0000000000002, 1 << 63])
VALUES = PATTERNS.map(lambda pattern: float(struct.unpack("<d", struct.pack("<Q", pattern))[0]))
TEXT = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1, max_size=20)
LABELS = st.dictionaries(TEXT.filter(lambda name: name != "__name__"), TEXT, max_size=5)
SERIES = st.lists(
    st.tuples(TEXT, LABELS, st.lists(st.tuples(MILLISECONDS, VALUES), max_size=4)), max_size=6
)


def samples_of(decoded: Decoded) -> list[tuple[str, str, dict[str, str], int, int]]:
    columns = decoded.columns
    found = []
    for place, number in enumerate(columns.numbers.tolist()):
        series = columns.series[number]
        pattern = int(columns.values.view("u8")[place])
        found.append(
            (series.service, series.name, dict(series.tags), int(columns.times[place]), pattern)
        )
    return found


def expected(
    series: list[tuple[str, dict[str, str], list[Sample]]], naming: Naming
) -> list[tuple[str, str, dict[str, str], int, int]]:
    found = []
    for name, labels, samples in series:
        tags = dict(labels)
        service = next((tags.pop(key) for key in naming.labels if key in tags), naming.default)
        for time, value in samples:
            [pattern] = struct.unpack("<Q", struct.pack("<d", value))
            clipped = max(-(2**53), min(2**53, time)) * 1000
            found.append((service, name, tags, clipped, pattern))
    return found


@given(series=SERIES)
def test_version_1_reads_what_was_written(
    series: list[tuple[str, dict[str, str], list[Sample]]],
) -> None:
    naming = Naming()
    body = request_1(*(series_1({"__name__": n, **tags}, found) for n, tags, found in series))
    decoder = RemoteWrite(naming)
    for _ in range(2):  # the second time from what is remembered
        decoded = decoder.version_1(body)
        assert decoded.refused == []
        assert samples_of(decoded) == expected(series, naming)


@given(series=SERIES, start=st.integers(0, 2**62))
def test_version_2_reads_what_was_written(
    series: list[tuple[str, dict[str, str], list[Sample]]], start: int
) -> None:
    naming = Naming()
    request = Request2()
    for name, tags, found in series:
        request.add({"__name__": name, **tags}, found, unit="seconds", start=start)
    decoder = RemoteWrite(naming)
    for _ in range(2):
        decoded = decoder.version_2(request.encoded())
        assert samples_of(decoded) == expected(series, naming)
        assert {one.unit for one in decoded.columns.series} <= {"seconds"}


def test_a_label_that_looks_like_a_sample_is_none() -> None:
    """The quick way knows a series by the bytes before its last sample: those must be labels."""
    decoder = RemoteWrite(Naming())
    labels = {"__name__": "m", "zz": "x"}
    decoder.version_1(request_1(series_1(labels, [(1_760_000_000_000, 1.0)])))
    both = series_1(labels, [(1_760_000_000_000, 1.0), (1_760_000_000_001, 2.0)])
    decoded = decoder.version_1(request_1(both, series_1(labels, [(1_760_000_000_002, 0.0)])))
    assert [one[3] for one in samples_of(decoded)] == [
        1_760_000_000_000_000,
        1_760_000_000_001_000,
        1_760_000_000_002_000,
    ]


def test_fields_of_later_versions_are_passed_over() -> None:
    series = series_1({"__name__": "m"}, [(1, 1.0)]) + piece(99, b"later")
    decoded = RemoteWrite(Naming()).version_1(request_1(series) + piece(98, b"later"))
    assert len(decoded.columns) == 1


@pytest.mark.parametrize("version", [RemoteWrite.version_1, RemoteWrite.version_2])
@given(body=st.binary(max_size=200))
def test_nonsense_raises_nothing_but_our_error(
    version: Callable[[RemoteWrite, bytes], Decoded], body: bytes
) -> None:
    try:
        version(RemoteWrite(Naming()), body)
    except UsageError as error:
        assert error.message


@given(data=st.data())
def test_a_damaged_request_raises_nothing_but_our_error(data: st.DataObject) -> None:
    body = bytearray(request_1(*(series_1({"__name__": "m", "a": "b"}, [(5, 1.0)]) for _ in "123")))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        RemoteWrite(Naming()).version_1(bytes(body))
    except UsageError as error:
        assert error.message


@given(body=st.binary(max_size=100))
def test_decompressors_raise_nothing_but_our_error(body: bytes) -> None:
    for decompress in (snappy_block, gzip_content):
        try:
            content = decompress(body, most=1000)
        except UsageError as error:
            assert error.message
        else:
            assert len(content) <= 1000


@given(content=st.binary(max_size=1000))
def test_a_snappy_block_gives_its_content(content: bytes) -> None:
    assert snappy_block(compressed(content), most=1000) == content
