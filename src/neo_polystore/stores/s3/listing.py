"""Listings of buckets, in the order of keys, to their end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from neo_polystore.errors import NotFoundError, ValidationError
from neo_polystore.objectkit.query import Bounds
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.s3.client import S3Client


async def list_objects(client: S3Client, bounds: Bounds) -> AsyncIterator[StoredObject]:
    """Objects without content, content type and checksum."""
    for bucket in await _buckets(client, bounds):
        start = f"{bucket}/"
        if bounds.after >= start and not bounds.after.startswith(start):
            continue
        options: dict[str, Any] = {
            "Bucket": client.bucket(bucket),
            "Prefix": bounds.prefix,
            "MaxKeys": client.config.page_size,
        }
        if bounds.after.startswith(start) and bounds.after != start:
            options["StartAfter"] = bounds.after.removeprefix(start)
        while True:
            list_page = partial(client.driver.list_objects_v2, **options)
            try:
                page = await client.run("find", list_page)
            except NotFoundError:
                break  # no such bucket
            for item in page.get("Contents", ()):
                if (record := _listed(bucket, item)) is not None:
                    yield record
            if not page.get("IsTruncated"):
                break
            options["ContinuationToken"] = page["NextContinuationToken"]


async def _buckets(client: S3Client, bounds: Bounds) -> list[str]:
    if bounds.bucket is not None:
        return [bounds.bucket] if _is_legal(bounds.bucket) else []
    prefix = client.config.bucket_prefix
    answer = await client.run("find", client.driver.list_buckets)
    names = [str(item.get("Name", "")) for item in answer.get("Buckets", ())]
    ours = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return sorted(filter(_is_legal, ours), key=lambda name: f"{name}/")


def _is_legal(bucket: str) -> bool:
    try:
        StoredObject.parse({"bucket": bucket, "name": "any"})
    except ValidationError:
        return False
    return True


def _listed(bucket: str, item: Any) -> StoredObject | None:
    try:
        return StoredObject.parse(
            {
                "bucket": bucket,
                "name": item["Key"],
                "size": item["Size"],
                "modified": item["LastModified"],
            }
        )
    except ValidationError:
        return None
