"""Which target a setting or an option names."""

from __future__ import annotations

from pathlib import Path

from neo_polystore.backup.targets import DirectoryTarget, Target
from neo_polystore.errors import ConfigError
from neo_polystore.settings import Settings
from neo_polystore.stores.s3.config import S3Config


def open_target(settings: Settings, place: str | None = None) -> Target:
    """The target of `place`, or of NEO_BACKUP_TARGET: a directory or `s3://bucket/prefix`.

    Does no I/O. ConfigError where nothing is named, or something else than these two.
    """
    text = place or settings.neo_backup_target
    if not text:
        raise ConfigError(
            "no target for backups: set NEO_BACKUP_TARGET or give --target, a directory or"
            " s3://bucket/prefix"
        )
    if text.startswith("s3://"):
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigError(f"{text}: names no bucket")
        return _bucket(settings, bucket, prefix)
    if "://" in text:
        raise ConfigError(f"{text}: a target is a directory or s3://bucket/prefix")
    return DirectoryTarget(Path(text).expanduser().absolute())


def _bucket(settings: Settings, bucket: str, prefix: str) -> Target:
    from neo_polystore.backup.bucket import BucketTarget  # boto3 is slow to import

    config = S3Config(
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
        attempts=6,
    )
    return BucketTarget(config, bucket, prefix)
