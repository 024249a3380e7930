"""Content to S3: its checksum first, in one request or in parts."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from neo_polystore.errors import FieldProblem, NotFoundError, ValidationError
from neo_polystore.objectkit.objects import Outcome
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.s3.client import S3Client
from neo_polystore.stores.s3.errors import STORE
from neo_polystore.stores.s3.spool import Spool
from neo_polystore.stores.s3.stat import stat


async def place(
    client: S3Client, record: StoredObject, spool: Spool
) -> tuple[StoredObject, Outcome]:
    """Send the content with its checksum, unless the very same object is there."""
    _check_limits(record)
    standing = await stat(client, record.bucket, record.name)
    given = (spool.sha256, record.content_type)
    if standing is not None and (standing.sha256, standing.content_type) == given:
        return standing, "existing"
    try:
        await _send(client, record, spool)
    except NotFoundError:
        await client.run("put", partial(_make_bucket, client, record.bucket))
        await _send(client, record, spool)
    update = {
        "size": spool.size,
        "sha256": spool.sha256,
        "content": None,
        "modified": datetime.now(UTC).replace(microsecond=0),
    }
    return record.model_copy(update=update), "new" if standing is None else "replaced"


async def _send(client: S3Client, record: StoredObject, spool: Spool) -> None:
    bucket = client.bucket(record.bucket)
    metadata = {"sha256": spool.sha256}
    path = await client.run("put", spool.path)
    if path is not None:
        extra = {"ContentType": record.content_type, "Metadata": metadata}
        await client.upload(path, bucket, record.name, extra)
        return
    send = partial(
        client.driver.put_object,
        Bucket=bucket,
        Key=record.name,
        Body=spool.memory,
        ContentType=record.content_type,
        Metadata=metadata,
    )
    await client.run("put", send)


def _make_bucket(client: S3Client, bucket: str) -> None:
    """Make the missing bucket, or raise a ValidationError that says why not."""
    if not client.config.create_buckets:
        reason = f"bucket {bucket!r} does not exist and create_buckets is off"
        raise ValidationError([FieldProblem("bucket", reason)], store=STORE)
    client.make_bucket(client.bucket(bucket))


def _check_limits(record: StoredObject) -> None:
    """What S3 asks for beyond the model."""
    problems = []
    if not (record.content_type.isascii() and record.content_type.isprintable()):
        problems.append(FieldProblem("content_type", "S3 keeps printable ASCII only"))
    if (size := len(record.name.encode())) > 1024:
        problems.append(FieldProblem("name", f"S3 keeps at most 1024 bytes of UTF-8, not {size}"))
    if problems:
        raise ValidationError(problems, store=STORE)
