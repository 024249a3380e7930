"""What remote write demands of the labels of a series, and the series that they make."""

from __future__ import annotations

from collections.abc import Sequence

from neo_polystore.protocols.limits import Naming
from neo_polystore.records.metric_columns import Series, problem_of

NAME = "__name__"


class LabelsError(ValueError):
    """The labels do not make a series."""


def series_of(
    pairs: Sequence[tuple[str, str]], naming: Naming, *, unit: str | None = None
) -> Series:
    """The series with these labels. Raises LabelsError with the reason.

    `__name__` is the metric; without it there is none, which the specification allows and we do
    not. Names must be sorted by code point and unique, neither names nor values empty.
    """
    before = ""
    for name, value in pairs:
        if not name:
            raise LabelsError("a label without a name")
        if not value:
            raise LabelsError(f"label {name!r} is empty")
        if name == before:
            raise LabelsError(f"label {name!r} comes twice")
        if name < before:
            raise LabelsError(f"labels are not sorted: {name!r} after {before!r}")
        before = name
    labels = dict(pairs)
    metric = labels.pop(NAME, None)
    if metric is None:
        raise LabelsError(f"no metric name: label {NAME} is missing")
    series = naming.series(metric, labels, unit=unit)
    if problem := problem_of(series):
        raise LabelsError(f"{problem[0]}: {problem[1]}")
    return series


def text_of(raw: bytes) -> str:
    """A name or value; LabelsError where it is no UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise LabelsError(f"{raw[:60]!r} is no valid UTF-8") from None
