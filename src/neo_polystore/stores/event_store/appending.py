"""The two statements that append events, and how events become their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from neo_polystore.errors import FieldProblem
from neo_polystore.pgkit import exact_json
from neo_polystore.records.events import Event

_COLUMNS = (
    "event_id, aggregate_id, aggregate_type, event_type, event_version, event_data, metadata,"
    " user_id, correlation_id, causation_id, created_at"
)

APPEND = f"""
WITH head AS (
    INSERT INTO aggregates AS a (aggregate_id, aggregate_type, current_version)
    SELECT $1::uuid, $2::text, $3::int
    WHERE $4::int = 0 OR EXISTS (SELECT FROM aggregates WHERE aggregate_id = $1)
    ON CONFLICT (aggregate_id) DO UPDATE
    SET current_version = a.current_version + $3, updated_at = now()
    WHERE a.current_version = $4
    RETURNING aggregate_id
)
INSERT INTO events ({_COLUMNS})
SELECT e.event_id, head.aggregate_id, e.aggregate_type, e.event_type, $4 + e.ordinal,
    e.event_data::jsonb, e.metadata::jsonb, e.user_id, e.correlation_id, e.causation_id,
    e.created_at
FROM head, unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::uuid[],
    $11::uuid[], $12::uuid[], $13::timestamptz[]) WITH ORDINALITY
    AS e (event_id, aggregate_type, event_type, event_data, metadata, user_id, correlation_id,
        causation_id, created_at, ordinal)
ORDER BY e.ordinal
RETURNING position
"""
"""Parameters: aggregate, its type, number of events, expected version, then event columns.

Appends nothing and answers no row where the stream is not at the expected version."""

WRITE = f"""
WITH input AS (
    SELECT i.*, dense_rank() OVER (ORDER BY aggregate_id) AS stream,
        row_number() OVER (PARTITION BY aggregate_id ORDER BY ordinal) AS place,
        count(*) OVER (PARTITION BY aggregate_id) AS added
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::uuid[], $8::uuid[], $9::uuid[], $10::timestamptz[]) WITH ORDINALITY
        AS i (event_id, aggregate_id, aggregate_type, event_type, event_data, metadata, user_id,
            correlation_id, causation_id, created_at, ordinal)
    WHERE event_id NOT IN (SELECT e.event_id FROM events e WHERE e.event_id = ANY($1))
), heads AS (
    INSERT INTO aggregates AS a (aggregate_id, aggregate_type, current_version)
    -- everybody locks streams in this order, so that two writers never wait for each other
    SELECT aggregate_id, aggregate_type, added FROM input WHERE place = 1 ORDER BY aggregate_id
    ON CONFLICT (aggregate_id) DO UPDATE
    SET current_version = a.current_version + excluded.current_version, updated_at = now()
    RETURNING aggregate_id, current_version
), versions AS (
    -- an array by number of stream: no join that could be planned for a handful of rows
    SELECT array_agg(current_version ORDER BY aggregate_id) AS reached FROM heads
)
INSERT INTO events ({_COLUMNS})
SELECT event_id, aggregate_id, aggregate_type, event_type,
    (SELECT reached FROM versions)[stream] - added + place,
    event_data::jsonb, metadata::jsonb, user_id, correlation_id, causation_id, created_at
FROM input ORDER BY ordinal
"""
"""Parameters: event columns with the aggregate. Events that are stored already are left out."""


class UnstorableEventError(Exception):
    """An event holds something that jsonb cannot."""

    def __init__(self, problem: FieldProblem):
        super().__init__(problem.reason)
        self.problem = problem


def as_json(event: Event) -> tuple[str, str]:
    """`event_data` and `metadata` as JSON text; raises UnstorableEventError."""
    texts = []
    for field in ("event_data", "metadata"):
        try:
            texts.append(exact_json.dumps(getattr(event, field)))
        except ValueError as error:
            raise UnstorableEventError(FieldProblem(field, str(error))) from None
    return texts[0], texts[1]


def append_parameters(events: Sequence[Event]) -> list[list[Any]]:
    """The event columns of APPEND, each a list."""
    return _transposed((event.event_id, *_tail(event, as_json(event))) for event in events)


def write_parameters(events: Iterable[tuple[Event, tuple[str, str]]]) -> list[list[Any]]:
    """The event columns of WRITE, each a list."""
    return _transposed(
        (event.event_id, event.aggregate_id, *_tail(event, texts)) for event, texts in events
    )


def _tail(event: Event, texts: tuple[str, str]) -> tuple[Any, ...]:
    return (
        event.aggregate_type,
        event.event_type,
        *texts,
        event.user_id,
        event.correlation_id,
        event.causation_id,
        event.created_at,
    )


def _transposed(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
