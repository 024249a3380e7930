"""S3, or a service that speaks its protocol, as a store of objects."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from neo_polystore.activity import Activity
from neo_polystore.errors import PolystoreError
from neo_polystore.objectkit.ages import ObjectAges
from neo_polystore.objectkit.backing import ObjectsBacking
from neo_polystore.objectkit.clearing import clear_objects
from neo_polystore.objectkit.threads import finished
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import (
    Cleared,
    Health,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.stores.s3.client import S3Client, make_driver
from neo_polystore.stores.s3.config import S3Config
from neo_polystore.stores.s3.errors import STORE, code_of, translated
from neo_polystore.stores.s3.objects import S3Objects

_NO_SCHEMA = "objects have no schema"
_NOT_OURS = "without a bucket prefix any bucket may be somebody else's: empty them yourself"


class S3Store:
    """One service and the buckets that the credentials reach."""

    name: ClassVar[str] = STORE
    serves: ClassVar[frozenset[str]] = frozenset({"objects"})
    features: ClassVar[frozenset[str]] = frozenset({"streaming", "checksums", "atomic-replace"})

    def __init__(self, config: S3Config):
        self._client = S3Client(config)
        self._ports = {"objects": S3Objects(self._client)}

    async def connect(self) -> None:
        """Make the client and see that the service answers. Harmless when open."""
        if self._client.is_open:
            return
        await self._client.connect()
        try:
            await self._client.run("connect", self._probe)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def health(self) -> Health:
        """List the buckets. Being refused the list is healthy: the service knows who asks."""
        started = time.perf_counter()
        try:
            await self._client.connect()
            server, detail = await self._client.run("health", self._probe)
        except PolystoreError as error:
            return Health("unhealthy", detail=error.message)
        milliseconds = (time.perf_counter() - started) * 1000
        return Health("healthy", server, detail, milliseconds)

    @property
    def backing(self) -> ObjectsBacking:
        """How it is backed up: as a list. The contents stay where they are kept safe already."""
        config = self._client.config
        place = f"{config.endpoint_url or 's3://' + config.region}/{config.bucket_prefix}"
        return ObjectsBacking(self._ports["objects"], place=place, content=False, open=self)

    @property
    def activity(self) -> Activity:
        """What the service was asked."""
        return Activity(self._client.recorder)

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Nothing to do."""
        return MigrationReport(self.name, "objects", None, not_applicable=_NO_SCHEMA)

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Nothing to take back."""
        return await self.migrate(dry_run=True)

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """Nothing to write down."""
        return Script(cls.name, not_applicable=_NO_SCHEMA)

    async def validate(self) -> Validation:
        """Nothing to compare."""
        return Validation.of(await self.migrate(dry_run=True))

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove every object from the buckets with our prefix; not without such a prefix."""
        if not self._client.config.bucket_prefix:
            return Cleared(self.name, not_applicable=_NOT_OURS)
        return await clear_objects(self._ports["objects"], store=self.name, dry_run=dry_run)

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these keys the service has, by a client of its own."""
        objects: S3Objects = self.port(data_type)
        with translated("witness"):
            driver = await finished(partial(make_driver, self._client.config))
            try:
                found = 0
                for key in keys:
                    bucket, name = objects.split(key)
                    where = {"Bucket": self._client.bucket(bucket), "Key": name}
                    found += await finished(partial(_exists, driver, where))
                return found
            finally:
                driver.close()

    def port(self, data_type: str) -> Any:
        """`objects`."""
        return self._ports[data_type]

    def ages(self, data_type: str) -> Ages | None:
        """The retention of `objects`."""
        return ObjectAges(self._ports["objects"])

    def _probe(self) -> tuple[str, str]:
        """What the server calls itself, and a remark."""
        try:
            answer: Any = self._client.driver.list_buckets()
            detail = ""
        except ClientError as error:
            if code_of(error) != "AccessDenied":
                raise
            answer, detail = error.response, "may not list buckets"
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return headers.get("server", "S3"), detail


def _exists(driver: Any, where: dict[str, str]) -> bool:
    try:
        driver.head_object(**where)
    except ClientError as error:
        if code_of(error) not in ("404", "NoSuchKey", "NoSuchBucket"):
            raise
        return False
    return True


_: type[Store] = S3Store
