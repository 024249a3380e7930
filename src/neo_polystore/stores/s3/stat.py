"""What S3 says of one object."""

from __future__ import annotations

from functools import partial
from typing import Any

from neo_polystore.errors import NotFoundError
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.s3.client import S3Client


async def stat(client: S3Client, bucket: str, name: str) -> StoredObject | None:
    """The object without content, or None."""
    head = partial(client.driver.head_object, Bucket=client.bucket(bucket), Key=name)
    try:
        return described(bucket, name, await client.run("stat", head))
    except NotFoundError:
        return None


def described(bucket: str, name: str, answer: Any) -> StoredObject:
    """The object without content, from an answer to HEAD or GET."""
    return StoredObject(
        bucket=bucket,
        name=name,
        content_type=answer.get("ContentType") or "application/octet-stream",
        size=answer["ContentLength"],
        sha256=answer.get("Metadata", {}).get("sha256"),
        modified=answer["LastModified"],
    )
