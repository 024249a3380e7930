"""A page of metrics as numbers: what the parsers of the client library read."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as text_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Series = tuple[str, frozenset[tuple[str, str]]]


class Scraped:
    """One page, parsed."""

    def __init__(self, text: str, content_type: str):
        parse = openmetrics_families if "openmetrics" in content_type else text_families
        self.families = {_full_name(found.name, found.type): found for found in parse(text)}
        self.values: Mapping[Series, float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for found in self.families.values()
            for sample in found.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series of a name that have these labels; 0 where there is none."""
        wanted = labels.items()
        return sum(
            value
            for (found, its_labels), value in self.values.items()
            if found == name and wanted <= dict(its_labels).items()
        )

    def ours(self) -> dict[str, tuple[str, frozenset[str]]]:
        """Type and label names of each family of the platform."""
        return {
            name: (
                found.type,
                frozenset(label for s in found.samples for label in s.labels) - {"le"},
            )
            for name, found in self.families.items()
            if name.startswith("neo_")
        }


def _full_name(name: str, kind: str) -> str:
    """As it is scraped: parsers take the `_total` of a counter off."""
    return f"{name}_total" if kind == "counter" and not name.endswith("_total") else name
