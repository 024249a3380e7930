"""Cuts pages out of many day indexes, in the order of a field and then of the id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tantivy
from tantivy import DocAddress, Order

from neo_polystore.records.log_pages import cursor, order_of, position
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import (
    Filter,
    Operator,
    Query,
    check_limit,
)
from neo_polystore.records.results import Page
from neo_polystore.records.times import moment
from neo_polystore.stores.tantivy.days import Day
from neo_polystore.stores.tantivy.query import DayQuery, all_of, any_of
from neo_polystore.stores.tantivy.schema import from_document

Hit = tuple[Any, DayQuery, DocAddress]


class PageCutter:
    """One page of one query over snapshots of the days."""

    def __init__(self, query: Query, days: Sequence[Day]):
        check_limit(query)
        self.query = query
        self.order = order_of(query)
        self.days = [DayQuery.of(day) for day in days]
        self.wanted = query.limit + 1  # one more tells whether another page follows
        after = position(query, self.order)
        self.conditions = [
            all_of([day.matching(query), *(self._after(day, *after) if after else ())])
            for day in self.days
        ]

    def cut(self) -> Page[LogEntry]:
        """The page's records in order, and the cursor."""
        entries = self._by_id(self.wanted) if self.order is None else self._by_field(self.order)
        more = len(entries) > self.query.limit
        entries = entries[: self.query.limit]
        return Page(entries, cursor(entries[-1], self.order) if more else None)

    def _by_field(self, order: str) -> list[LogEntry]:
        """tantivy breaks ties by where a document happens to lie, so the last tie is cut here."""
        hits = self._top(self.conditions, order, self.wanted)
        if len(hits) < self.wanted:
            return self._sorted(hits, order)
        last = hits[-1][0]
        before = [hit for hit in hits if hit[0] != last]
        tied = Filter(order, "eq", moment(last) if order == "timestamp" else last)
        conditions = [
            all_of([condition, day.condition(tied)])
            for day, condition in zip(self.days, self.conditions, strict=True)
        ]
        rest = self._top(conditions, "place", self.wanted - len(before))
        return self._sorted(before, order) + _load(rest)

    def _by_id(self, count: int) -> list[LogEntry]:
        return _load(self._top(self.conditions, "place", count))

    def _top(self, conditions: Sequence[tantivy.Query], field: str, count: int) -> list[Hit]:
        """The first hits of all days together by one index field."""
        hits: list[Hit] = []
        for day, condition in zip(self.days, conditions, strict=True):
            found = day.searcher.search(
                condition,
                limit=count,
                count=False,
                order_by_field=field,
                order=Order.Desc if self.query.descending else Order.Asc,
            )
            hits += [(value, day, address) for value, address in found.hits]
        hits.sort(key=lambda hit: hit[0], reverse=self.query.descending)
        return hits[:count]

    def _sorted(self, hits: list[Hit], order: str) -> list[LogEntry]:
        return sorted(
            _load(hits),
            key=lambda entry: (getattr(entry, order), entry.id),
            reverse=self.query.descending,
        )

    def _after(self, day: DayQuery, value: Any, key: str) -> list[tantivy.Query]:
        further: Operator = "lt" if self.query.descending else "gt"
        beyond = day.condition(Filter("id", further, key))
        if self.order is None:
            return [beyond]
        if self.order == "timestamp":
            value = moment(value)
        tied = day.condition(Filter(self.order, "eq", value))
        return [any_of([day.condition(Filter(self.order, further, value)), all_of([tied, beyond])])]


def _load(hits: list[Hit]) -> list[LogEntry]:
    return [from_document(day.searcher.doc(address)) for _, day, address in hits]
