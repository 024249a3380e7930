"""What senders may ask of us, and how their series become ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from neo_polystore.records.metric_columns import Series


@dataclass(frozen=True, slots=True)
class Naming:
    """Which label or tag names the service: the first of `labels` that is there, else `default`."""

    labels: tuple[str, ...] = ("service", "job")
    default: str = "unknown"

    def series(
        self, name: str, labels: Mapping[str, str], *, unit: str | None = None, default: str = ""
    ) -> Series:
        """A series; the label that names the service is no tag any more."""
        for label in self.labels:
            service = labels.get(label)
            if service:
                tags = {key: value for key, value in labels.items() if key != label}
                return Series(service, name, tags, unit)
        return Series(default or self.default, name, dict(labels), unit)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request. `ahead` is how far in the future a point may be."""

    body_bytes: int = 32 * 2**20
    content_bytes: int = 128 * 2**20
    ahead: timedelta = timedelta(days=1)
    days: int = 1_000
