"""The Elasticsearch engine: its lifecycle, health and the port `logs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, ClassVar

import orjson

from neo_polystore.activity import Activity
from neo_polystore.errors import ConfigError, PolystoreError
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import (
    Cleared,
    Health,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.stores.elasticsearch.ages import ElasticsearchAges
from neo_polystore.stores.elasticsearch.backing import ElasticsearchBacking
from neo_polystore.stores.elasticsearch.client import Client, opened
from neo_polystore.stores.elasticsearch.config import ElasticsearchConfig
from neo_polystore.stores.elasticsearch.days import Days
from neo_polystore.stores.elasticsearch.documents import name_of, template
from neo_polystore.stores.elasticsearch.errors import STORE
from neo_polystore.stores.elasticsearch.logs import ElasticsearchLogs
from neo_polystore.stores.elasticsearch.templates import apply, drift
from neo_polystore.stores.elasticsearch.writing import Writer


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ElasticsearchStore:
    """One index per day on an Elasticsearch or OpenSearch server."""

    name: ClassVar[str] = STORE
    serves: ClassVar[frozenset[str]] = frozenset({"logs"})
    features: ClassVar[frozenset[str]] = frozenset({"full-text"})

    def __init__(self, config: ElasticsearchConfig, *, now: Callable[[], datetime] = _utc_now):
        self.config = config
        self._now = now
        self._closed = False
        self._client = Client(config)
        self._days = Days(self._client)
        self._logs = ElasticsearchLogs(self._client, Writer(self._client, now))

    async def connect(self) -> None:
        """Reach the server and look for the template; ConfigError where it is not there yet.

        Harmless when open.
        """
        self._closed = False
        if self._logs.counts:
            return
        self._client.open()
        report = await apply(self._client, dry_run=True)
        if report.current is None:
            raise ConfigError(
                f"the server has no index template {self.config.prefix}:"
                " run `neo-polystore db migrate`",
                store=STORE,
                operation="connect",
            )
        self._logs.start()

    async def close(self) -> None:
        """Finish accepted writes and close the connections."""
        self._closed = True
        await self._logs.stop()
        await self._client.close()

    async def health(self) -> Health:
        """Ask for version, state and days; connects where that has not succeeded yet."""
        started = perf_counter()
        try:
            if not self._logs.counts and not self._closed:
                await self.connect()
            about = await self._client.ask("health", "GET", [])
            state = await self._client.ask("health", "GET", ["_cluster", "health"])
            days = await self._days.all("health")
        except PolystoreError as error:
            return Health("unhealthy", detail=str(error))
        milliseconds = round((perf_counter() - started) * 1000, 3)
        version = about["version"]
        name = str(version.get("distribution", "Elasticsearch")).replace("opensearch", "OpenSearch")
        entries = sum(day.entries for day in days)
        return Health(
            "unhealthy" if state["status"] == "red" else "healthy",
            f"{name} {version['number']}",
            f"{entries} documents in {len(days)} days, cluster {state['status']}",
            milliseconds,
            {
                "days": len(days),
                "documents": entries,
                "bytes": sum(day.bytes for day in days),
                "cluster": state["status"],
            },
        )

    @property
    def backing(self) -> ElasticsearchBacking:
        """How it is backed up."""
        return ElasticsearchBacking(self.config)

    @property
    def activity(self) -> Activity:
        """What the server was asked, and the writes that were gathered."""
        return Activity(self._client.recorder, gathered=self._logs.counts)

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Give the server the index template of `schemas/elasticsearch/logs.json`.

        Days that are there keep the fields that they were made with; `validate` names them.
        """
        async with opened(self.config) as client:
            return await apply(client, dry_run=dry_run)

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Not offered."""
        return MigrationReport(
            STORE,
            self.config.prefix,
            None,
            not_applicable="a template's version only rises",
        )

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """The request that makes the template."""
        config = ElasticsearchConfig()
        body = orjson.dumps(template(config), option=orjson.OPT_INDENT_2).decode()
        return Script(cls.name, f"PUT _index_template/{config.prefix}\n{body}\n")

    async def validate(self) -> Validation:
        """The template on the server as its file says, and every day as the template."""
        async with opened(self.config) as client:
            found = Validation.of(await apply(client, dry_run=True))
            found.problems.extend(await drift(client))
        return found

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove every day's index."""
        days = await self._days.all("clear")
        if not dry_run:
            for day in days:
                await self._days.discard("clear", day)
        return Cleared(STORE, {day.index: day.entries for day in days})

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these ids a client of its own finds."""
        async with opened(self.config) as client:
            body = {"query": {"ids": {"values": [name_of(key) for key in keys]}}}
            answer = await client.ask("witness", "POST", [self.config.pattern, "_count"], body)
        return int(answer["count"])

    def port(self, data_type: str) -> Any:
        """The port `logs`."""
        return {"logs": self._logs}[data_type]

    def ages(self, data_type: str) -> Ages | None:
        """The retention of `logs`."""
        return ElasticsearchAges(self._client, self._days, self._now)


_: type[Store] = ElasticsearchStore
