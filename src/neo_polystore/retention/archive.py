"""Archives: records on their way out, as Parquet files with a manifest each, among the objects."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import IO, Final

import orjson

from neo_polystore.errors import CorruptDataError, IntegrityError, NotFoundError, UsageError
from neo_polystore.objectkit.threads import finished
from neo_polystore.ports.objects import Objects
from neo_polystore.ports.retention import Ages, Portion
from neo_polystore.ports.retention_policy import Rule
from neo_polystore.records.base import Record
from neo_polystore.records.catalog import record_type
from neo_polystore.records.query import Query
from neo_polystore.retention import parquet

FORMAT: Final = 1
_CHUNK: Final = 1 << 20
_CONTENT: Final = "application/vnd.apache.parquet"


@dataclass(frozen=True, slots=True)
class Part:
    """The manifest of one file. `name` finds it; `sha256` and `bytes` are the file's.

    The records were past `before` when the run took them; `since` and `until` bound their age.
    """

    name: str
    data_type: str
    engine: str
    portion: str
    rows: int
    bytes: int
    sha256: str
    since: str | None
    until: str | None
    before: str
    keep: str
    run: str
    written_at: str
    format: int = FORMAT


class Archive:
    """One bucket. A file without a manifest is none: its run ended before it was complete.

    What is archived may still be in its store (the run was killed, or a hold came in between);
    what a run has deleted is in the archive in any case.
    """

    def __init__(self, objects: Objects, bucket: str):
        self._objects = objects
        self._bucket = bucket

    async def store(
        self, rule: Rule, ages: Ages, portion: Portion, *, run: str, number: int, before: datetime
    ) -> Part:
        """Write a portion's records; durable, with its manifest, when this returns."""
        parquet.require()
        name = f"{rule.data_type}/{run[:8]}/{run}/{number:06}.parquet"
        with tempfile.TemporaryFile() as spool:
            rows = await _spooled(spool, rule.data_type, ages.read(portion))
            size, digest = await finished(partial(_measured, spool))
            stored = await self._objects.put(
                self._bucket, name, _chunks(spool), content_type=_CONTENT
            )
        if stored.sha256 not in (None, digest):
            raise IntegrityError(f"{name}: stored is SHA-256 {stored.sha256}, written {digest}")
        part = Part(
            name,
            rule.data_type,
            rule.engine,
            portion.name,
            rows,
            size,
            digest,
            _text(portion.since),
            _text(portion.until),
            before.isoformat(),
            rule.keep,
            run,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        manifest = orjson.dumps(asdict(part), option=orjson.OPT_INDENT_2)
        await self._objects.put(
            self._bucket, _manifest(name), _once(manifest), content_type="application/json"
        )
        return part

    async def parts(self, data_type: str | None = None) -> list[Part]:
        """The manifests, by name; raises CorruptDataError for one that is none."""
        query = Query(limit=1000).where("bucket", self._bucket)
        if data_type is not None:
            query = query.where("name", f"{data_type}/", "prefix")
        found: list[Part] = []
        while True:
            page = await self._objects.find(query)
            names = [record.name for record in page.records]
            found += [
                await self.part(name.removesuffix(".json"))
                for name in names
                if name.endswith(".parquet.json")
            ]
            if page.next is None:
                return found
            query = Query(query.filters, limit=1000, after=page.next)

    async def part(self, name: str) -> Part:
        """One manifest; raises NotFoundError."""
        try:
            content = (await self._objects.get(f"{self._bucket}/{_manifest(name)}")).content
        except NotFoundError:
            raise NotFoundError(f"there is no archive {name!r}") from None
        try:
            part = Part(**orjson.loads(content or b""))
        except (orjson.JSONDecodeError, TypeError):
            raise CorruptDataError(f"the manifest of {name} is none") from None
        if part.format != FORMAT:
            raise UsageError(f"{name} has format {part.format}, this version reads {FORMAT}")
        if part.name != name:
            raise CorruptDataError(f"the manifest of {name} is that of {part.name}")
        return part

    async def records(self, name: str) -> AsyncIterator[list[Record]]:
        """The records of a file, some at a time, after its checksum was found right."""
        parquet.require()
        part = await self.part(name)
        model = record_type(part.data_type)
        with tempfile.TemporaryFile() as spool:
            async for chunk in self._objects.open(self._bucket, name):
                spool.write(chunk)
            size, digest = await finished(partial(_measured, spool))
            if (size, digest) != (part.bytes, part.sha256):
                raise IntegrityError(f"{name}: SHA-256 {digest}, its manifest says {part.sha256}")
            batches = parquet.texts(spool)
            rows = 0
            while (texts := await finished(lambda: next(batches, None))) is not None:
                rows += len(texts)
                yield [model.model_validate_json(text) for text in texts]
            if rows != part.rows:
                raise CorruptDataError(
                    f"{name} holds {rows} records, its manifest says {part.rows}"
                )


async def _spooled(
    spool: IO[bytes], data_type: str, batches: AsyncIterator[Sequence[Record]]
) -> int:
    rows = 0
    writer = parquet.Writer(spool, record_type(data_type))
    try:
        async for batch in batches:
            await finished(partial(writer.write, batch))
            rows += len(batch)
    finally:
        await finished(writer.close)
    return rows


def _measured(spool: IO[bytes]) -> tuple[int, str]:
    spool.seek(0)
    digest = hashlib.sha256()
    while chunk := spool.read(_CHUNK):
        digest.update(chunk)
    return spool.tell(), digest.hexdigest()


async def _chunks(spool: IO[bytes]) -> AsyncIterator[bytes]:
    spool.seek(0)
    while chunk := await finished(partial(spool.read, _CHUNK)):
        yield chunk


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _manifest(name: str) -> str:
    return f"{name}.json"
