"""A bucket of S3 or a compatible service as a target of backups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from neo_polystore.backup.targets import Item
from neo_polystore.errors import BackupError, ConfigError
from neo_polystore.stores.s3.client import make_driver
from neo_polystore.stores.s3.config import S3Config
from neo_polystore.stores.s3.errors import code_of, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client as Driver

_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


class BucketTarget:
    """Names below a prefix of one bucket.

    A part goes out in one request, so an upload that was killed leaves nothing behind that costs
    money and that nobody sees. The service checks each request against a checksum of its own.
    """

    def __init__(self, config: S3Config, bucket: str, prefix: str = ""):
        self._config = config
        self._bucket = config.bucket_prefix + bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._driver: Driver | None = None

    @property
    def place(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def driver(self) -> Driver:
        """boto3's client, made at first use."""
        if self._driver is None:
            try:
                self._driver = make_driver(self._config)
            except ValueError as error:
                raise ConfigError(str(error), store="s3", operation="backup") from None
        return self._driver

    def check(self, *, writing: bool) -> None:
        """Whether the bucket is there and may be listed."""
        with translated("backup"):
            try:
                self.driver.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if code_of(error) not in ("404", "NoSuchBucket"):
                    raise
                if not (writing and self._config.create_buckets):
                    raise ConfigError(
                        f"there is no bucket {self._bucket!r}", store="s3", operation="backup"
                    ) from None
                self._make()

    def put(self, name: str, data: bytes) -> None:
        """One request."""
        with translated("backup.put"):
            self.driver.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=data)

    def put_new(self, name: str, data: bytes) -> bool:
        """One request, which the service refuses where the name is taken (If-None-Match)."""
        with translated("backup.put"):
            try:
                self.driver.put_object(
                    Bucket=self._bucket, Key=self._prefix + name, Body=data, IfNoneMatch="*"
                )
            except ClientError as error:
                if code_of(error) not in _TAKEN:
                    raise
                return False
        return True

    def get(self, name: str, *, most: int) -> bytes:
        """One request; a body that ends early is an error of the driver's."""
        with translated("backup.get"):
            answer = self.driver.get_object(Bucket=self._bucket, Key=self._prefix + name)
            if answer["ContentLength"] > most:
                raise BackupError(f"{name} is larger than {most} bytes")
            return answer["Body"].read()

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Page after page, to the last."""
        pages = self.driver.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with translated("backup.list"):
            for page in pages:
                for found in page.get("Contents", []):
                    yield Item(found["Key"].removeprefix(self._prefix), found["Size"])

    def delete(self, name: str) -> None:
        """One request."""
        with translated("backup.delete"):
            self.driver.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def below(self, folder: str) -> BucketTarget:
        """A longer prefix of the bucket, over the same connections."""
        bucket = self._bucket.removeprefix(self._config.bucket_prefix)
        found = BucketTarget(self._config, bucket, self._prefix + folder)
        found._driver = self.driver
        return found

    def close(self) -> None:
        """Close the connections."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _make(self) -> None:
        options: Any = {"Bucket": self._bucket}
        if self._config.region != "us-east-1":  # which is named by naming none
            options["CreateBucketConfiguration"] = {"LocationConstraint": self._config.region}
        self.driver.create_bucket(**options)
