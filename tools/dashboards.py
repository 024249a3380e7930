"""`python -m tools.dashboards`: writes Grafana's dashboards into deploy/monitoring."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy" / "monitoring" / "grafana" / "dashboards"
COLUMNS, WIDTH, HEIGHT = 24, 8, 8


@dataclass(frozen=True)
class Panel:
    """A graph: one query, how its series are called, its unit as Grafana names units."""

    title: str
    query: str
    legend: str = ""
    unit: str = "short"


def p95(metric: str, *labels: str) -> str:
    """The 95th percentile of a histogram of ours, by labels."""
    by = ", ".join((*labels, "le"))
    return f"histogram_quantile(0.95, sum by ({by}) (rate({metric}_bucket[5m])))"


DASHBOARDS: dict[str, tuple[Panel, ...]] = {
    "Platform": (
        Panel("Stores up", "min by (store) (neo_store_up)", "{{store}}"),
        Panel("Probe of stores", "max by (store) (neo_store_probe_seconds)", "{{store}}", "s"),
        Panel(
            "Requests",
            "sum by (status) (rate(neo_http_requests_total[5m]))",
            "{{status}}",
            "reqps",
        ),
        Panel(
            "Request latency, p95",
            p95("neo_http_request_duration_seconds", "route"),
            "{{route}}",
            "s",
        ),
        Panel("Requests in flight", "sum(neo_http_requests_in_flight)", "in flight"),
        Panel(
            "Errors of stores",
            "sum by (store, kind) (rate(neo_db_errors_total[5m]))",
            "{{store}} {{kind}}",
            "ops",
        ),
        Panel(
            "Query latency, p95",
            p95("neo_db_query_duration_seconds", "store", "operation"),
            "{{store}} {{operation}}",
            "s",
        ),
        Panel(
            "Transaction latency, p95",
            p95("neo_db_transaction_duration_seconds", "store", "operation"),
            "{{store}} {{operation}}",
            "s",
        ),
        Panel(
            "Records per gathered batch",
            "sum by (store, kind) (rate(neo_coalesced_items_total[5m]))"
            " / sum by (store, kind) (rate(neo_coalesced_batches_total[5m]))",
            "{{store}} {{kind}}",
        ),
    ),
    "Connections": (
        Panel(
            "Connections by server and database",
            "sum by (server, datname) (pg_stat_database_numbackends)",
            "{{server}} {{datname}}",
        ),
        Panel(
            "Connections of the platform in use",
            "sum by (instance, store, pool) (neo_db_connections_active)",
            "{{instance}} {{store}} {{pool}}",
        ),
        Panel(
            "Connections of the platform, idle",
            "sum by (instance, store, pool) (neo_db_connections_idle)",
            "{{instance}} {{store}} {{pool}}",
        ),
        Panel(
            "Share of max_connections",
            "sum by (server) (pg_stat_database_numbackends)"
            " / max by (server) (pg_settings_max_connections)",
            "{{server}}",
            "percentunit",
        ),
        Panel(
            "Wait for a connection, p95",
            p95("neo_db_connection_wait_seconds", "store"),
            "{{store}}",
            "s",
        ),
        Panel(
            "Connections that are reused",
            "1 - sum by (store) (rate(neo_db_connections_opened_total[1h]))"
            " / sum by (store) (rate(neo_db_connection_uses_total[1h]))",
            "{{store}}",
            "percentunit",
        ),
        Panel("Replication lag", "max by (server) (pg_replication_lag_seconds)", "{{server}}", "s"),
        Panel(
            "Size of databases",
            "max by (server, datname) (pg_database_size_bytes)",
            "{{server}} {{datname}}",
            "bytes",
        ),
        Panel(
            "Deadlocks",
            "sum by (server, datname) (rate(pg_stat_database_deadlocks[5m]))",
            "{{server}} {{datname}}",
            "ops",
        ),
    ),
    "Outbox, jobs and cache": (
        Panel("Outbox: waiting", "max by (topic) (neo_outbox_pending)", "{{topic}}"),
        Panel("Outbox: lag", "max by (topic) (neo_outbox_oldest_age_seconds)", "{{topic}}", "s"),
        Panel("Dead letters", "max by (topic) (neo_outbox_dead_letters)", "{{topic}}"),
        Panel(
            "Delivered by this installation",
            "sum by (topic) (rate(neo_relay_delivered_total[5m]))",
            "{{topic}}",
            "ops",
        ),
        Panel(
            "Records that went to the outbox",
            "sum by (data_type) (rate(neo_spool_queued_total[5m]))",
            "{{data_type}}",
            "ops",
        ),
        Panel(
            "Jobs: since the last success",
            "time() - max by (job) (neo_job_last_success_timestamp_seconds)",
            "{{job}}",
            "s",
        ),
        Panel(
            "Jobs: last duration", "max by (job) (neo_job_last_duration_seconds)", "{{job}}", "s"
        ),
        Panel(
            "Cache: hits",
            'sum by (data_type) (rate(neo_cache_reads_total{result=~"hit|local|shared"}[5m]))'
            " / sum by (data_type) (rate(neo_cache_reads_total[5m]))",
            "{{data_type}}",
            "percentunit",
        ),
        Panel(
            "Cache: failures",
            "sum by (data_type) (rate(neo_cache_failures_total[5m]))",
            "{{data_type}}",
            "ops",
        ),
        Panel("Redis: memory", "redis_memory_used_bytes", "{{instance}}", "bytes"),
        Panel(
            "Disk left",
            'node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"}'
            ' / node_filesystem_size_bytes{fstype!~"tmpfs|overlay|squashfs"}',
            "{{mountpoint}}",
            "percentunit",
        ),
        Panel(
            "Memory left",
            "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
            "{{instance}}",
            "percentunit",
        ),
    ),
}


def dashboard(title: str) -> dict[str, Any]:
    """Grafana's model of one dashboard."""
    return {
        "uid": name_of(title),
        "title": f"neo_polystore: {title}",
        "tags": ["neo-polystore"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": []},
        "panels": [_panel(place, panel) for place, panel in enumerate(DASHBOARDS[title])],
    }


def name_of(title: str) -> str:
    """The file's name, and Grafana's identifier."""
    return "neo-" + title.lower().replace(",", "").replace(" ", "-")


def text(title: str) -> str:
    """The file of a dashboard."""
    return json.dumps(dashboard(title), indent=2) + "\n"


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    across = COLUMNS // WIDTH
    source = {"type": "prometheus", "uid": "neo-prometheus"}
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {
            "x": place % across * WIDTH,
            "y": place // across * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": source,
                "expr": panel.query,
                "legendFormat": panel.legend,
            }
        ],
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for title in DASHBOARDS:
        (FOLDER / f"{name_of(title)}.json").write_text(text(title))
