"""TimescaleDB's own policies: made as the settings say, and made anew where these have changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from neo_polystore.pgkit import exact_json
from neo_polystore.pgkit.database import Connection
from neo_polystore.stores.timescale.config import INDEFINITE, TimescaleConfig, days_of

RELATIONS: Final = {"raw": "metrics", "hourly": "metrics_hourly", "daily": "metrics_daily"}

_COLUMNSTORE_SINCE: Final = (2, 18)
"""From this version on compression is called columnstore; the other names may go one day."""

_FOUND = """
SELECT coalesce(c.view_name, j.hypertable_name)::text AS relation, j.proc_name::text AS procedure,
    j.config::text AS config, j.schedule_interval::text AS schedule
FROM timescaledb_information.jobs j
LEFT JOIN timescaledb_information.continuous_aggregates c
    ON c.materialization_hypertable_name = j.hypertable_name
WHERE j.proc_name = ANY($1)
"""

NOTE_DROPPED: Final = "SELECT note_dropped_metrics()"
"""Keeps up to when TimescaleDB's retention has dropped, also after its policies have changed."""

_GONE = """
SELECT level, extract(day FROM now() - gone_before)::integer AS days FROM metrics_retention
WHERE isfinite(gone_before)
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """What should be: `settings` are intervals in the order of the adding function's arguments."""

    relation: str
    procedure: str
    settings: dict[str, str | None]
    schedule: str | None
    add: str
    remove: str


def wanted(
    config: TimescaleConfig, gone: Mapping[str, int], *, columnstore: bool
) -> Iterator[Policy]:
    """The policies that these settings ask for; `gone`: how many days ago a level was dropped.

    A refresh starts a day after the first point that retention leaves, and where it has dropped
    more before: TimescaleDB aggregates what is there, so it would delete what was aggregated from
    dropped points.
    """
    kept = config.kept()
    for level, made_from, end in (("hourly", "raw", "1 hour"), ("daily", "hourly", "1 day")):
        keep = days_of(kept[made_from])
        reaches = [days for days in (keep and keep - 1, gone.get(made_from)) if days is not None]
        start = f"{min(reaches)} days" if reaches else None
        yield Policy(
            RELATIONS[level],
            "policy_refresh_continuous_aggregate",
            {"start_offset": start, "end_offset": end},
            "1 hour",
            "SELECT add_continuous_aggregate_policy($1::text::regclass, $2::text::interval,"
            " $3::text::interval, INTERVAL '1 hour')",
            "SELECT remove_continuous_aggregate_policy($1::text::regclass, if_exists => true)",
        )
    for level, age in kept.items():
        if age != INDEFINITE:
            yield Policy(
                RELATIONS[level],
                "policy_retention",
                {"drop_after": age},
                None,
                "SELECT add_retention_policy($1::text::regclass, $2::text::interval)",
                "SELECT remove_retention_policy($1::text::regclass, if_exists => true)",
            )
    if config.compress_after != INDEFINITE:
        add = "CALL add_columnstore_policy" if columnstore else "SELECT add_compression_policy"
        yield Policy(
            RELATIONS["raw"],
            "policy_compression",
            {"compress_after": config.compress_after},
            None,
            f"{add}($1::text::regclass, $2::text::interval)",
            _remove_compression(columnstore=columnstore),
        )


def _remove_compression(*, columnstore: bool) -> str:
    remove = "CALL remove_columnstore" if columnstore else "SELECT remove_compression"
    return f"{remove}_policy($1::text::regclass, if_exists => true)"


async def apply_policies(connection: Connection, config: TimescaleConfig) -> list[str]:
    """Make, change and remove policies, in one transaction as the owner; names what was done."""
    version = await connection.fetchval(
        "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    )
    columnstore = tuple(int(part) for part in version.split(".")[:2]) >= _COLUMNSTORE_SINCE
    procedures = {"policy_retention", "policy_compression", "policy_refresh_continuous_aggregate"}
    rows = await connection.fetch(_FOUND, sorted(procedures))
    found = {(row["relation"], row["procedure"]): row for row in rows}
    done = []
    async with connection.transaction():
        await connection.execute(NOTE_DROPPED)
        gone = {row["level"]: row["days"] for row in await connection.fetch(_GONE)}
        found_policies = wanted(config, gone, columnstore=columnstore)
        policies = {(policy.relation, policy.procedure): policy for policy in found_policies}
        if ("metrics", "policy_compression") in policies:
            await _compressible(connection, columnstore=columnstore)
        for place in found.keys() - policies.keys():
            if place[0] in RELATIONS.values():
                await connection.execute(_removing(place[1], columnstore=columnstore), place[0])
                done.append(f"removed {place[1]} on {place[0]}")
        for place, policy in policies.items():
            if place in found and await _same(connection, policy, found[place]):
                continue
            await connection.execute(policy.remove, policy.relation)
            await connection.execute(policy.add, policy.relation, *policy.settings.values())
            done.append(f"set {policy.procedure} on {policy.relation}")
    return done


def _removing(procedure: str, *, columnstore: bool) -> str:
    if procedure == "policy_compression":
        return _remove_compression(columnstore=columnstore)
    return "SELECT remove_retention_policy($1::text::regclass, if_exists => true)"


async def _same(connection: Connection, policy: Policy, row: Any) -> bool:
    """Equal as intervals: TimescaleDB writes them in its own way."""
    there = exact_json.loads(row["config"])
    pairs = [(value, there.get(name)) for name, value in policy.settings.items()]
    if policy.schedule is not None:
        pairs.append((policy.schedule, row["schedule"]))
    return not await connection.fetchval(
        "SELECT count(*) FROM unnest($1::text[]::interval[], $2::text[]::interval[])"
        " AS pair (mine, theirs) WHERE mine IS DISTINCT FROM theirs",
        [mine for mine, _ in pairs],
        [theirs for _, theirs in pairs],
    )


async def _compressible(connection: Connection, *, columnstore: bool) -> None:
    """Allow compression, points of a series beside one another; late points of any number.

    Their number has a limit from 2.14 on, whose setting earlier versions do not know.
    """
    await connection.execute("""
        DO $$ BEGIN
            IF current_setting(
                'timescaledb.max_tuples_decompressed_per_dml_transaction', true
            ) <> '0' THEN
                EXECUTE format('ALTER DATABASE %I SET'
                    ' timescaledb.max_tuples_decompressed_per_dml_transaction = 0',
                    current_database());
            END IF;
        END $$
    """)
    if await connection.fetchval(
        "SELECT compression_enabled FROM timescaledb_information.hypertables"
        " WHERE hypertable_name = 'metrics'"
    ):
        return
    names = ("enable_columnstore", "segmentby", "orderby")
    if not columnstore:
        names = ("compress", "compress_segmentby", "compress_orderby")
    await connection.execute(
        f"ALTER TABLE metrics SET (timescaledb.{names[0]},"
        f" timescaledb.{names[1]} = 'service_id, metric_name, series_id',"
        f" timescaledb.{names[2]} = 'time DESC')"
    )
