"""Prometheus remote write requests, 1.0 and 2.0, to columns.

https://prometheus.io/docs/specs/prw/remote_write_spec/ and .../remote_write_spec_2_0/
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from neo_polystore.protocols.errors import MalformedError, Refused
from neo_polystore.protocols.labels import LabelsError, series_of, text_of
from neo_polystore.protocols.limits import Naming
from neo_polystore.protocols.remote_write_messages import (
    Label,
    Metadata2,
    Request2,
    TimeSeries,
    TimeSeries2,
    WriteRequest,
)
from neo_polystore.protocols.samples import VALUED, ZERO, read_samples
from neo_polystore.records.metric_columns import MetricColumns, Series

_REMEMBERED: Final = 100_000
_FAR: Final = 2**53
"""Milliseconds beyond any calendar, whose microseconds still fit 64 bits."""

_SAMPLE_KEY: Final = 0x12
_VALUED_TAIL: Final = bytes((_SAMPLE_KEY, VALUED))
_ZERO_TAIL: Final = bytes((_SAMPLE_KEY, ZERO))


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request holds: samples as columns, series that were refused, and what is not stored.

    Histograms and exemplars are counted only: this store has no place for them.
    """

    columns: MetricColumns
    refused: list[Refused] = field(default_factory=list)
    histograms: int = 0
    exemplars: int = 0


class RemoteWrite:
    """Decodes requests; remembers series by their labels' bytes, which senders send again and
    again. Not for several threads at a time.
    """

    def __init__(self, naming: Naming):
        self._naming = naming
        self._known: dict[Any, Series] = {}

    def version_1(self, body: bytes) -> Decoded:
        """A `prometheus.WriteRequest`. Raises MalformedError; nothing is half read."""
        request = _parsed(WriteRequest, body, "prometheus.WriteRequest")
        found = _Found()
        known = self._known
        for number, raw in enumerate(request.timeseries, 1):
            # one sample behind labels that were seen before: what nearly every series is
            if raw[-18:-16] == _VALUED_TAIL and (series := known.get(raw[:-18])):
                found.add(series, (raw[-VALUED:],))
            elif raw[-9:-7] == _ZERO_TAIL and (series := known.get(raw[:-9])):
                found.add(series, (raw[-ZERO:],))
            else:
                message = _parsed(TimeSeries, raw, f"series {number}")
                found.take(number, message, partial(self._labelled, message))
        return found.decoded()

    def version_2(self, body: bytes) -> Decoded:
        """An `io.prometheus.write.v2.Request`. Raises MalformedError; nothing is half read."""
        request = _parsed(Request2, body, "io.prometheus.write.v2.Request")
        symbols = list(request.symbols)
        if symbols[:1] != [b""] and (symbols or request.timeseries):
            raise MalformedError("symbols: the first one is not the empty text")
        found = _Found()
        for number, raw in enumerate(request.timeseries, 1):
            message = _parsed(TimeSeries2, raw, f"series {number}")
            found.take(number, message, partial(self._referred, message, symbols))
        return found.decoded()

    def _labelled(self, message: Any) -> Series:
        labels = list(message.labels)
        pairs = []
        for raw in labels:
            label = _parsed(Label, raw, "a label")
            pairs.append((text_of(label.name), text_of(label.value)))
        series = series_of(pairs, self._naming)
        self._remember(b"".join(map(_label_field, labels)), series)
        return series

    def _referred(self, message: Any, symbols: list[bytes]) -> Series:
        references = list(message.labels_refs)
        metadata = message.metadata
        unit_reference = _parsed(Metadata2, metadata, "metadata").unit_ref if metadata else 0
        try:
            raw = (*map(symbols.__getitem__, references), symbols[unit_reference])
        except IndexError:
            last = max(*references, unit_reference)
            raise LabelsError(f"symbol {last} of {len(symbols)}") from None
        if series := self._known.get(raw):
            return series
        if len(references) % 2:
            raise LabelsError("an odd number of label references")
        *texts, unit = map(text_of, raw)
        pairs = list(zip(texts[::2], texts[1::2], strict=True))
        series = series_of(pairs, self._naming, unit=unit or None)
        self._remember(raw, series)
        return series

    def _remember(self, key: object, series: Series) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = series


class _Found:
    """Gathers the series and samples of one request."""

    def __init__(self) -> None:
        self._series: list[Series] = []
        self._numbers: list[int] = []
        self._samples: list[bytes] = []
        self._refused: list[Refused] = []
        self._histograms = 0
        self._exemplars = 0

    def add(self, series: Series, samples: Any) -> None:
        self._numbers += [len(self._series)] * len(samples)
        self._series.append(series)
        self._samples += samples

    def take(self, number: int, message: Any, series_of: Callable[[], Series]) -> None:
        """One series' message; refused where its labels are bad."""
        self._histograms += len(message.histograms)
        self._exemplars += len(message.exemplars)
        try:
            series = series_of()
        except LabelsError as error:
            refused = Refused(f"series {number}", len(message.samples), str(error))
            self._refused.append(refused)
        else:
            self.add(series, message.samples)

    def decoded(self) -> Decoded:
        times, values = read_samples(self._samples)
        columns = MetricColumns(
            self._series,
            np.array(self._numbers, dtype=np.int64),
            np.clip(times, -_FAR, _FAR) * 1000,
            values,
        )
        return Decoded(columns, self._refused, self._histograms, self._exemplars)


def _parsed(message: Any, raw: bytes, what: str) -> Any:
    try:
        return message.FromString(raw)
    except DecodeError:
        raise MalformedError(f"{what}: no such Protobuf message; is the body truncated?") from None


def _label_field(raw: bytes) -> bytes:
    """A label as a series' message holds it: field 1, length, content."""
    length = len(raw)
    size = bytearray()
    while length >= 0x80:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return b"\x0a%b%b" % (bytes(size), raw)
