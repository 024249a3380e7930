"""The sinks: messages are records, written through their data type's port, or cache changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from neo_polystore.audit.digest import sealed
from neo_polystore.audit.trail import COLLECTION
from neo_polystore.errors import ConfigError, UsageError, ValidationError
from neo_polystore.polystore import Polystore
from neo_polystore.ports.audit import Chains
from neo_polystore.ports.cache import INVALIDATION_TOPIC, Cache
from neo_polystore.ports.outbox import Deferring, Message, Refused, Sink
from neo_polystore.ports.records import Records
from neo_polystore.records.base import Record
from neo_polystore.records.documents import Document
from neo_polystore.records.payload import from_payload
from neo_polystore.records.scope import Scope

SinkFor = Callable[[str], Sink | None]


def record_sinks(polystore: Polystore) -> SinkFor:
    """For a topic that is an open data type of records, the sink that writes them; else None."""

    def sink_for(topic: str) -> Sink | None:
        if topic == INVALIDATION_TOPIC:
            return CacheSink(polystore.ports["cache"]) if "cache" in polystore.ports else None
        try:
            port = polystore.records(topic)
        except UsageError:
            return None
        # past a wrapper that would put back into the queue what comes from it
        direct = port.direct if isinstance(port, Deferring) else port
        if topic == COLLECTION and polystore.has_audit:
            return AuditSink(direct, polystore.audit.chains)
        return RecordsSink(direct)

    return sink_for


class CacheSink:
    """Announces changes to the cache whose writers could not; they end by themselves there."""

    def __init__(self, cache: Cache):
        self._cache = cache

    async def deliver(self, messages: Sequence[Message]) -> list[Refused]:
        """One announcement per message; refuses what names no keys."""
        refused: list[Refused] = []
        for message in messages:
            keys = message.payload.get("keys") if isinstance(message.payload, dict) else None
            if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
                refused.append(Refused(message, "keys: expected a list of texts"))
            else:
                await self._cache.begin_change(keys, change=message.idempotency_key)
        return refused


class RecordsSink:
    """Writes each message's payload as a record, for the tenant and service that published it.

    Idempotent because the port is: a record is stored once by its key. Refuses payloads that are
    no record and records that the store rejects.
    """

    def __init__(self, port: Records[Any]):
        self._port = port

    async def deliver(self, messages: Sequence[Message]) -> list[Refused]:
        """One write per tenant and service in a batch, or more where they share a key."""
        refused: list[Refused] = []
        parsed: list[tuple[Message, Record]] = []
        for message in messages:
            try:
                parsed.append((message, from_payload(self._port.record, message.payload)))
            except ValidationError as error:
                refused.append(Refused(message, error.message))
        for scope, part in _by_scope(parsed):
            refused += await self._write(scope, part)
        return refused

    async def _write(self, scope: Scope, part: list[tuple[Message, Record]]) -> list[Refused]:
        written = await self._port.within(scope).write([record for _, record in part])
        if written.consistency == "queued":
            raise ConfigError("the relay's sink queues what it is given: deliver to its `direct`")
        return [
            Refused(part[found.index][0], f"{found.field}: {found.reason}")
            for found in written.rejected
        ]


class AuditSink(RecordsSink):
    """Audit entries; what is delivered is linked to its chain before it is acknowledged."""

    def __init__(self, port: Records[Any], chains: Chains):
        super().__init__(port)
        self._chains = chains

    async def _write(self, scope: Scope, part: list[tuple[Message, Record]]) -> list[Refused]:
        refused = await super()._write(scope, part)
        lost = {item.message.id for item in refused}
        links = [sealed(cast(Document, entry)) for item, entry in part if item.id not in lost]
        await self._chains.link([link for link in links if link is not None])
        return refused


def _by_scope(
    parsed: list[tuple[Message, Record]],
) -> Iterator[tuple[Scope, list[tuple[Message, Record]]]]:
    """Parts of one scope each; whatever shares a key stays in order, whoever published it."""
    parts: dict[Scope, list[tuple[Message, Record]]] = {}
    owners: dict[str, Scope] = {}
    for message, record in parsed:
        if owners.setdefault(message.key, message.scope) != message.scope:
            yield from parts.items()
            parts, owners = {}, {message.key: message.scope}
        parts.setdefault(message.scope, []).append((message, record))
    yield from parts.items()
