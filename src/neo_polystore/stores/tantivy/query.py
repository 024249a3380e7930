"""Turns a Query into tantivy's query objects for one day's index."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import ge, gt, le, lt
from typing import Any

import tantivy
from tantivy import FieldType, Index, Occur, Searcher

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import Filter, Query, alternatives, check_field
from neo_polystore.records.times import micros
from neo_polystore.stores.tantivy.days import Day
from neo_polystore.stores.tantivy.schema import (
    TEXT_FIELDS,
    field_prefix,
    field_term,
    place_of,
    words,
)

_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "lt": lt,
    "le": le,
    "gt": gt,
    "ge": ge,
    "prefix": str.startswith,
}


@dataclass(frozen=True)
class DayQuery:
    """Builds conditions against one day; text of a caller only ever becomes a term."""

    index: Index
    searcher: Searcher

    @classmethod
    def of(cls, day: Day) -> DayQuery:
        """Against a snapshot of the day."""
        return cls(day.index, day.searcher)

    def matching(self, query: Query) -> tantivy.Query:
        """What satisfies the query's filters, times and words; its cursor plays no part."""
        parts = [self.condition(item) for item in query.filters]
        for bound, operator in ((query.since, "ge"), (query.until, "lt")):
            if bound is not None:
                parts.append(self._time(operator, bound))
        if query.text is not None:
            parts += self._words(query.text)
        return all_of(parts)

    def condition(self, item: Filter) -> tantivy.Query:
        """One filter."""
        check_field(LogEntry, item.field)
        if item.operator == "in":
            return any_of([self.condition(each) for each in alternatives(LogEntry, item)])
        head, _, path = item.field.partition(".")
        if item.value is None:
            return self._present(head, path) if item.operator == "ne" else self._absent(head, path)
        if head == "timestamp":
            return self._time(item.operator, item.value)
        if head == "id":
            return self._place(item.operator, str(item.value))
        if head in TEXT_FIELDS:
            return self._text(head, item.operator, str(item.value))
        if head == "fields" and path:
            return self._pair(path, item.operator, str(item.value))
        hint = ": search its words with text" if head == "message" else ""
        raise UnsupportedError(f"logs cannot be selected by {item.field!r}{hint}")

    def _present(self, head: str, path: str) -> tantivy.Query:
        if path:
            return self._terms("fields", field_prefix(path))
        if head in TEXT_FIELDS:
            return tantivy.Query.exists_query(head)
        return tantivy.Query.all_query()

    def _absent(self, head: str, path: str) -> tantivy.Query:
        return none_of(self._present(head, path))

    def _time(self, operator: str, value: Any) -> tantivy.Query:
        if not isinstance(value, datetime):
            raise UsageError(f"logs.timestamp is a time, not {value!r}")
        at = micros(value)
        match operator:
            case "eq":
                return self._range(at, at)
            case "ne":
                return none_of(self._range(at, at))
            case "lt":
                return self._range(None, at - 1)
            case "le":
                return self._range(None, at)
            case "gt":
                return self._range(at + 1, None)
            case "ge":
                return self._range(at, None)
        raise UsageError(f"logs.timestamp is a time, it has no {operator}")

    def _range(self, lower: int | None, upper: int | None) -> tantivy.Query:
        return tantivy.Query.range_query(
            self.index.schema, "timestamp", FieldType.Integer, lower, upper
        )

    def _place(self, operator: str, key: str) -> tantivy.Query:
        """Ids by order. The query text that this parses is made of hexadecimal digits alone."""
        place = place_of(key) or "0"  # "0" comes before the place of every id
        match operator:
            case "eq" | "ne":
                same = self._term("id", key)
                return same if operator == "eq" else none_of(same)
            case "prefix":
                bounds = f"[{place} TO {place}g}}" if key else "[0 TO *}"
            case "lt":
                bounds = f"{{* TO {place}}}"
            case "le":
                bounds = f"{{* TO {place}]"
            case "gt":
                bounds = f"{{{place} TO *}}"
            case _:
                bounds = f"[{place} TO *}}"
        return self.index.parse_query(f"place:{bounds}")

    def _text(self, field: str, operator: str, value: str) -> tantivy.Query:
        match operator:
            case "eq":
                return self._term(field, value)
            case "ne":
                return none_of(self._term(field, value))
            case "prefix":
                return self._terms(field, value)
        compare = _COMPARE[operator]
        return self._terms(field, "", lambda term: compare(term, value))

    def _pair(self, name: str, operator: str, value: str) -> tantivy.Query:
        prefix, term = field_prefix(name), field_term(name, value)
        match operator:
            case "eq":
                return self._term("fields", term)
            case "ne":
                return none_of(self._term("fields", term))
            case "prefix":
                return self._terms("fields", prefix + value)
        compare = _COMPARE[operator]
        return self._terms("fields", prefix, lambda stored: compare(stored, term))

    def _term(self, field: str, value: str) -> tantivy.Query:
        return tantivy.Query.term_query(self.index.schema, field, value, "basic")

    def _terms(
        self, field: str, prefix: str, wanted: Callable[[str], bool] = lambda term: True
    ) -> tantivy.Query:
        """Any of the terms that the index holds and that are wanted."""
        stored = self.searcher.terms_with_prefix(field, prefix)
        terms = [term for term, _ in stored if wanted(term)]
        if not terms:
            return tantivy.Query.empty_query()
        return tantivy.Query.term_set_query(self.index.schema, field, terms)

    def _words(self, text: str) -> list[tantivy.Query]:
        found = dict.fromkeys(words(text))
        if not found:
            raise UsageError(f"no word to search for in {text!r}")
        return [self._term("message", word) for word in found]


def all_of(parts: Iterable[tantivy.Query]) -> tantivy.Query:
    """Every one of the queries; everything where there is none."""
    clauses = [(Occur.Must, part) for part in parts]
    return tantivy.Query.boolean_query(clauses) if clauses else tantivy.Query.all_query()


def any_of(parts: Iterable[tantivy.Query]) -> tantivy.Query:
    """At least one of the queries."""
    return tantivy.Query.boolean_query([(Occur.Should, part) for part in parts])


def none_of(part: tantivy.Query) -> tantivy.Query:
    """What does not satisfy the query."""
    everything = tantivy.Query.all_query()
    return tantivy.Query.boolean_query([(Occur.Must, everything), (Occur.MustNot, part)])
