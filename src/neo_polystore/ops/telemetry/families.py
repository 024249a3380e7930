"""Every family of metrics that the platform exposes; `docs/observability.md` is this list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric

from neo_polystore.activity import BOUNDS, Durations

Made = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

_BUCKETS = [*map(str, BOUNDS), "+Inf"]


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics of one name. `labels` have bounded values: names of the code, never data."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str

    def make(self) -> Made:
        """The family, still empty."""
        match self.kind:
            case "counter":
                return CounterMetricFamily(self.name, self.help, labels=self.labels)
            case "gauge":
                return GaugeMetricFamily(self.name, self.help, labels=self.labels)
            case "histogram":
                return HistogramMetricFamily(self.name, self.help, labels=self.labels)


class Page:
    """The families of one scrape, in the order in which they came."""

    def __init__(self) -> None:
        self._made: dict[str, Made] = {}

    def add(self, family: Family, value: float | None, *labels: str) -> None:
        """One sample; none where the value is not known."""
        if value is not None:
            made = self._family(family, labels)
            assert not isinstance(made, HistogramMetricFamily)  # noqa: S101 - for the type checker
            made.add_metric(labels, value)

    def spread(self, family: Family, durations: Durations, *labels: str) -> None:
        """One histogram, where anything is in it."""
        if any(durations.counts):
            made = self._family(family, labels)
            assert isinstance(made, HistogramMetricFamily)  # noqa: S101 - for the type checker
            cumulative = zip(_BUCKETS, accumulate(durations.counts), strict=True)
            made.add_metric(labels, list(cumulative), durations.seconds)

    def families(self) -> Iterable[Metric]:
        """What has samples."""
        return self._made.values()

    def _family(self, family: Family, labels: tuple[str, ...]) -> Made:
        if len(labels) != len(family.labels):
            raise ValueError(f"{family.name} has the labels {family.labels}, not {labels}")
        made = self._made.get(family.name)
        if made is None:
            made = self._made[family.name] = family.make()
        return made


BUILD = Family(
    "neo_build_info", "gauge", ("version", "profile", "python"), "Always 1: what runs here."
)

CONNECTIONS_ACTIVE = Family(
    "neo_db_connections_active",
    "gauge",
    ("store", "pool"),
    "Connections in use. `pool` is the pool, or `writers` and `readers` of gathered calls,"
    " or `background` (relay, scheduler). Stores on PostgreSQL.",
)
CONNECTIONS_IDLE = Family(
    "neo_db_connections_idle",
    "gauge",
    ("store", "pool"),
    "Connections that are open and not in use.",
)
CONNECTION_USES = Family(
    "neo_db_connection_uses_total",
    "counter",
    ("store",),
    "Times that a connection was taken.",
)
CONNECTIONS_OPENED = Family(
    "neo_db_connections_opened_total",
    "counter",
    ("store",),
    "Times that a connection had to be opened.",
)
CONNECTION_WAITS = Family(
    "neo_db_connection_wait_seconds",
    "histogram",
    ("store",),
    "Time until a connection of the pool was free, or opened.",
)
QUERIES = Family(
    "neo_db_query_duration_seconds",
    "histogram",
    ("store", "operation"),
    "Time that a named operation had a connection (other stores: the call of the driver),"
    " without the wait for one. A batch of gathered calls is one.",
)
TRANSACTIONS = Family(
    "neo_db_transaction_duration_seconds",
    "histogram",
    ("store", "operation", "outcome"),
    "Time from BEGIN to the end, by the unit of work's name; `committed` or `failed`."
    " Each run of one that was run again counts.",
)
ERRORS = Family(
    "neo_db_errors_total",
    "counter",
    ("store", "operation", "kind"),
    "Failures of a store, by the class of the error. A record that was refused is none.",
)
OPERATIONS = Family(
    "neo_db_operations_total",
    "counter",
    ("store", "operation", "outcome"),
    "Named units of work, each once however often it was run: `committed` or `failed`.",
)
OPERATION_RETRIES = Family(
    "neo_db_operation_retries_total",
    "counter",
    ("store", "operation"),
    "Runs of named units of work beyond the first.",
)
RETRIES = Family(
    "neo_db_retries_total",
    "counter",
    ("store", "reason"),
    "Transactions that were run again, named or not: `serialization` or `deadlock`.",
)
RETRIES_EXHAUSTED = Family(
    "neo_db_retries_exhausted_total",
    "counter",
    ("store",),
    "Transactions that lost the last time as well.",
)

GATHERED_ITEMS = Family(
    "neo_coalesced_items_total",
    "counter",
    ("store", "kind"),
    "Calls that were gathered: `writes` or `reads`.",
)
GATHERED_BATCHES = Family(
    "neo_coalesced_batches_total",
    "counter",
    ("store", "kind"),
    "Batches that they were sent in.",
)
GATHERED_REFUSED = Family(
    "neo_coalesced_refused_total",
    "counter",
    ("store", "kind"),
    "Calls that found no room in time and were answered 503.",
)
GATHERED_WAITING = Family(
    "neo_coalesced_waiting",
    "gauge",
    ("store", "kind"),
    "What is waiting or under way, in ordinary records.",
)

STORE_UP = Family(
    "neo_store_up",
    "gauge",
    ("store",),
    "1 where the store has answered its last probe, also as degraded; 0 where it has not.",
)
STORE_DEGRADED = Family(
    "neo_store_degraded",
    "gauge",
    ("store",),
    "1 where it works, but `/health` has something to say about it.",
)
STORE_PROBE = Family(
    "neo_store_probe_seconds", "gauge", ("store",), "How long the last probe took."
)

CACHE_READS = Family(
    "neo_cache_reads_total",
    "counter",
    ("data_type", "result"),
    "Reads by key: `hit`, `local` (this process's memory), `shared` (another reader's load),"
    " `miss`, `bypassed` (the cache could not be asked).",
)
CACHE_FILLS = Family(
    "neo_cache_fills_total",
    "counter",
    ("data_type", "result"),
    "Loads: `filled`, `refused` because the record changed meanwhile, or `uncacheable`.",
)
CACHE_EVENTS = Family(
    "neo_cache_events_total",
    "counter",
    ("data_type", "event"),
    "What else happened: `corrupt` and `outdated` entries thrown away, `renewed` ahead of their"
    " end, reads that `waited` for another process's load, keys `deferred` to the outbox.",
)
CACHE_FAILURES = Family(
    "neo_cache_failures_total",
    "counter",
    ("data_type",),
    "Calls of the cache that failed or took too long.",
)
CACHE_UNCERTAIN = Family(
    "neo_cache_uncertain_keys",
    "gauge",
    ("data_type",),
    "Changed keys whose invalidation the cache has not confirmed; they are read from the primary.",
)
SPOOL_QUEUED = Family(
    "neo_spool_queued_total",
    "counter",
    ("data_type",),
    "Records that went to the outbox because their store was away.",
)
SPOOL_FAILURES = Family(
    "neo_spool_failures_total",
    "counter",
    ("data_type",),
    "Writes that their store could not take.",
)

OUTBOX_PENDING = Family(
    "neo_outbox_pending", "gauge", ("topic",), "Messages that wait for delivery (depth)."
)
OUTBOX_AGE = Family(
    "neo_outbox_oldest_age_seconds",
    "gauge",
    ("topic",),
    "Age of the oldest message that waits (lag); 0 where none does.",
)
OUTBOX_DELIVERED = Family(
    "neo_outbox_delivered_total",
    "counter",
    ("topic",),
    "Messages that all relays have ever delivered. Every process says the same: do not add up.",
)
OUTBOX_DEAD = Family(
    "neo_outbox_dead_letters",
    "gauge",
    ("topic",),
    "Messages that were given up and neither replayed nor discarded since.",
)
OUTBOX_HELD = Family(
    "neo_outbox_held",
    "gauge",
    (),
    "Message ids behind which the last one stands, because a transaction that publishes is open.",
)

RELAY_DELIVERED = Family(
    "neo_relay_delivered_total", "counter", ("topic",), "Messages that this process delivered."
)
RELAY_DEAD = Family(
    "neo_relay_dead_letters_total", "counter", ("topic",), "Messages that this process gave up."
)
RELAY_BATCHES = Family(
    "neo_relay_batches_total", "counter", ("topic",), "Batches that sinks have acknowledged."
)
RELAY_FAILED = Family(
    "neo_relay_failures_total",
    "counter",
    ("topic",),
    "Times that a topic could not go on, to be tried again after a pause.",
)
RELAY_BLOCKED = Family(
    "neo_relay_blocked", "gauge", ("topic",), "1 where the last try of a topic failed."
)
RELAY_LEASES_LOST = Family(
    "neo_relay_leases_lost_total", "counter", ("topic",), "Times that another relay took over."
)
RELAY_LAG = Family(
    "neo_relay_lag_seconds",
    "gauge",
    ("topic",),
    "Age of the last message when its sink had acknowledged it.",
)

WAL_ARCHIVED = Family(
    "neo_wal_archived_total",
    "counter",
    ("store",),
    "WAL files that the server has archived, where it archives. Every process says the same.",
)
WAL_FAILURES = Family(
    "neo_wal_archive_failures_total",
    "counter",
    ("store",),
    "Times that its archive_command has failed.",
)
WAL_FAILING = Family(
    "neo_wal_archive_failing", "gauge", ("store",), "1 where the last try has failed."
)
WAL_AGE = Family(
    "neo_wal_archive_age_seconds",
    "gauge",
    ("store",),
    "Time since the last WAL file was archived; it grows while nothing is written.",
)
WAL_PENDING = Family(
    "neo_wal_archive_pending_segments",
    "gauge",
    ("store",),
    "Full segments that are not archived yet: what is lost with the machine.",
)

BACKUP_NEWEST = Family(
    "neo_backup_newest_timestamp_seconds",
    "gauge",
    ("store",),
    "When the newest complete backup of a store was started; Unix time.",
)
BACKUP_PROVEN = Family(
    "neo_backup_proven_timestamp_seconds",
    "gauge",
    ("store",),
    "When the newest backup was started from which the store was restored and compared; 0: none.",
)

JOB_SUCCESS = Family(
    "neo_job_last_success_timestamp_seconds",
    "gauge",
    ("job",),
    "When a run last ended well, in any process; Unix time.",
)
JOB_DURATION = Family(
    "neo_job_last_duration_seconds",
    "gauge",
    ("job",),
    "How long the last run took that has ended, in any process.",
)
JOB_NEXT = Family(
    "neo_job_next_run_timestamp_seconds", "gauge", ("job",), "When it is due next; Unix time."
)
JOB_RUNNING = Family("neo_job_running", "gauge", ("job",), "1 where some process runs it now.")
JOB_RUNS = Family(
    "neo_job_runs_total",
    "counter",
    ("job", "outcome"),
    "Runs in this process: `done`, `failed` or `lost` (another process took over).",
)

SOURCE_UP = Family(
    "neo_telemetry_source_up",
    "gauge",
    ("source",),
    "1 where `outbox`, `scheduler` or `backup` could be read; else what was read last stands.",
)
SOURCE_AGE = Family(
    "neo_telemetry_source_age_seconds",
    "gauge",
    ("source",),
    "How old what was read from there is.",
)

HTTP_REQUESTS = Family(
    "neo_http_requests_total",
    "counter",
    ("route", "method", "status"),
    "Requests that were answered. `route` is the template, `status` the class (`2xx`).",
)
HTTP_DURATION = Family(
    "neo_http_request_duration_seconds",
    "histogram",
    ("route", "method", "status"),
    "Time from the request to the end of the answer.",
)
HTTP_IN_FLIGHT = Family(
    "neo_http_requests_in_flight", "gauge", (), "Requests that are being answered."
)

FAMILIES = {family.name: family for family in globals().copy().values() if type(family) is Family}
"""All of them, by name."""
