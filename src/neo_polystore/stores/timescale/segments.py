"""Conditions on the times of `metrics_all` that keep it from unpacking what they do not select."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from neo_polystore.pgkit.select import Bind, Selection
from neo_polystore.records.query import Filter

_ORDERED: Final = ("lt", "le", "eq", "ge", "gt")


def within(since: str, until: str) -> str:
    """The condition that a point lies in [since, until), which are SQL of type timestamptz."""
    return (
        f"time >= {since} AND time < {until} AND last >= {since} AND first < {until}"
        f" AND first >= date_trunc('day', {since}, 'UTC')"
    )


@dataclass(frozen=True)
class PointSelection(Selection):
    """A selection from `metrics_all` whose filters on the time speak of its segments as well."""

    def condition(self, item: Filter, bind: Bind) -> str:
        """The SQL of one filter."""
        condition = super().condition(item, bind)
        if item.field != "time" or item.operator not in _ORDERED or item.value is None:
            return condition
        value = bind(item.value)
        if item.operator in ("ge", "gt", "eq"):
            condition += (
                f" AND last >= {value} AND first >= date_trunc('day', {value}::timestamptz, 'UTC')"
            )
        if item.operator in ("le", "lt", "eq"):
            condition += f" AND first <= {value}"
        return condition
