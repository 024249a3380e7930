"""boto3's client, which blocks, used from a bounded number of threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import ClientError

from neo_polystore.activity import Recorder
from neo_polystore.errors import ConfigError, UnavailableError
from neo_polystore.objectkit.threads import finished
from neo_polystore.stores.s3.config import S3Config
from neo_polystore.stores.s3.errors import STORE, code_of, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client as Driver
    from s3transfer.manager import TransferManager

T = TypeVar("T")


class S3Client:
    """One service. boto3's clients may be shared by threads; making one is slow and is not."""

    def __init__(self, config: S3Config):
        self.config = config
        self.recorder = Recorder("s3")
        self._driver: Driver | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._uploads: TransferManager | None = None

    @property
    def is_open(self) -> bool:
        """Whether the client is made."""
        return self._driver is not None

    async def connect(self) -> None:
        """Read the configuration and make the client; ConfigError. Sends nothing."""
        if self._driver is None:
            config = self.config
            try:
                with translated("connect"):
                    driver = await finished(partial(make_driver, config))
            except ValueError as error:
                raise ConfigError(str(error), store=STORE, operation="connect") from None
            self._uploads = create_transfer_manager(
                driver,
                TransferConfig(
                    multipart_threshold=config.part_size,
                    multipart_chunksize=config.part_size,
                    max_concurrency=config.parallel_parts,
                ),
            )
            self._threads = ThreadPoolExecutor(config.max_connections, thread_name_prefix=STORE)
            self._driver = driver

    async def close(self) -> None:
        """Wait for what runs and close all connections; harmless when there are none."""
        if self._driver is not None and self._threads is not None and self._uploads is not None:
            driver, self._driver = self._driver, None
            await finished(self._uploads.shutdown)
            await finished(self._threads.shutdown)
            driver.close()

    @property
    def driver(self) -> Driver:
        """boto3's client; UnavailableError before `connect` and after `close`."""
        if self._driver is None:
            error = UnavailableError("not connected", store=STORE)
            self.recorder.failed("connect", error)
            raise error
        return self._driver

    def bucket(self, name: str) -> str:
        """The bucket as the service knows it."""
        return self.config.bucket_prefix + name

    async def run(self, operation: str, work: Callable[[], T]) -> T:
        """Blocking work with the driver, its errors translated."""
        _ = self.driver
        with self.recorder.statement(operation), translated(operation):
            return await finished(work, executor=self._threads)

    async def upload(self, path: str, bucket: str, name: str, extra: dict[str, Any]) -> None:
        """Send a file in parts. Nothing stays behind when it fails or the caller is cancelled."""
        _ = self.driver
        assert self._uploads is not None  # noqa: S101 - made together with the driver
        with self.recorder.statement("put"), translated("put"):
            transfer = self._uploads.upload(path, bucket, name, extra)
            await finished(transfer.result, executor=self._threads, on_cancel=transfer.cancel)

    def make_bucket(self, bucket: str, *, locked: bool = False) -> None:
        """Make a bucket of ours, unless somebody just has; blocks. `locked` allows object lock."""
        options: Any = {"Bucket": bucket}
        if locked:
            options["ObjectLockEnabledForBucket"] = True
        if self.config.region != "us-east-1":  # which is named by naming none
            options["CreateBucketConfiguration"] = {"LocationConstraint": self.config.region}
        try:
            self.driver.create_bucket(**options)
        except ClientError as error:
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise


def make_driver(config: S3Config) -> Driver:
    """A client of one's own; blocks."""
    path_style = config.endpoint_url is not None if config.path_style is None else config.path_style
    return boto3.session.Session().client(
        "s3",
        endpoint_url=config.endpoint_url,
        region_name=config.region,
        aws_access_key_id=config.access_key_id,
        aws_secret_access_key=config.secret_access_key.get_secret_value() or None,
        aws_session_token=config.session_token.get_secret_value() or None,
        config=Config(
            connect_timeout=config.connect_timeout,
            read_timeout=config.read_timeout,
            max_pool_connections=config.max_connections + config.parallel_parts,
            retries={"mode": "standard", "total_max_attempts": config.attempts},
            s3={"addressing_style": "path" if path_style else "auto"},
            request_checksum_calculation=config.checksums,
            response_checksum_validation=config.checksums,
        ),
    )
