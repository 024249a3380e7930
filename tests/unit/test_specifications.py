"""Queries as specifications: what `&` of two of them asks for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from neo_polystore.errors import UsageError
from neo_polystore.records.query import Filter, Query

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


def test_both_conditions_have_to_hold() -> None:
    both = Query().where("a", 1) & Query().where("b", 2, "gt")
    assert both.filters == (Filter("a", "eq", 1), Filter("b", "gt", 2))


def test_the_narrower_bounds_of_time_stand() -> None:
    both = Query(since=EARLY, until=LATE) & Query(since=LATE)
    assert (both.since, both.until) == (LATE, LATE)
    assert (Query(until=LATE) & Query(until=EARLY)).until == EARLY


def test_all_words_of_both_are_looked_for() -> None:
    assert (Query(text="one") & Query(text="two")).text == "one two"


@pytest.mark.parametrize("turned", [False, True])
def test_order_and_limit_come_from_the_side_that_has_them(turned: bool) -> None:
    left, right = Query(order="a", descending=True, limit=7), Query().where("b", 2)
    both = right & left if turned else left & right
    assert (both.order, both.descending, both.limit) == ("a", True, 7)


def test_two_different_orders_are_refused() -> None:
    assert (Query(order="a") & Query(order="a")).order == "a"
    with pytest.raises(UsageError, match="order"):
        Query(order="a") & Query(order="b")


def test_a_query_without_conditions_changes_nothing() -> None:
    some = Query(order="a", since=EARLY, text="x").where("b", 1)
    assert some & Query() == Query() & some == some
