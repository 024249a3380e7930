"""What a bucket of ours is set to: encryption, no public access, lifecycle, versions, object lock.

Blocks. Every step is compared with what is there first, so that it may be run at any time. A
service that does not offer a setting is told apart from one that refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from neo_polystore.stores.s3.client import S3Client
from neo_polystore.stores.s3.errors import code_of

Outcome = Literal["is so", "done", "pending", "not offered", "refused"]

_ABSENT = {
    "404",
    "NoSuchBucket",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "ObjectLockConfigurationNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
}
_NOT_OFFERED = {
    "405",
    "501",
    "MethodNotAllowed",
    "NotImplemented",
    "VersioningNotConfigured",  # versitygw, without a directory for versions
    "XNotImplemented",
}
_CLOSED = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)


@dataclass(frozen=True, slots=True)
class BucketRules:
    """How buckets are to be set. `sse` is the algorithm, `kms_key` the key for `aws:kms`.

    With `lock_days` no version can be removed for so long, by nobody in the mode COMPLIANCE; the
    bucket keeps versions then, and those that were replaced or deleted for `noncurrent_days`.
    """

    sse: str | None = "AES256"
    kms_key: str | None = None
    lock_days: int | None = None
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    noncurrent_days: int = 30
    abort_days: int = 7


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one setting of a bucket."""

    bucket: str
    setting: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    read: Callable[[], Any]
    fits: Callable[[Any], bool]
    write: Callable[[], Any]


def set_up(client: S3Client, bucket: str, rules: BucketRules, *, dry_run: bool) -> Iterator[Step]:
    """Bring a bucket to the rules, setting by setting; one that cannot be read ends it."""
    for setting in _settings(client, bucket, rules):
        step = _apply(setting, bucket, dry_run=dry_run)
        yield step
        if setting.name == "bucket" and step.outcome in ("pending", "refused"):
            return


def _apply(setting: _Setting, bucket: str, *, dry_run: bool) -> Step:
    try:
        try:
            if setting.fits(setting.read()):
                return Step(bucket, setting.name, "is so")
        except ClientError as error:
            if code_of(error) not in _ABSENT:
                raise
        if dry_run:
            return Step(bucket, setting.name, "pending")
        setting.write()
    except ClientError as error:
        if code_of(error) in _NOT_OFFERED:
            return Step(bucket, setting.name, "not offered")
        return Step(bucket, setting.name, "refused", str(error))
    return Step(bucket, setting.name, "done")


def _settings(client: S3Client, bucket: str, rules: BucketRules) -> Iterator[_Setting]:
    driver: Any = client.driver
    of = {"Bucket": bucket}
    locked = rules.lock_days is not None
    yield _Setting(
        "bucket",
        lambda: driver.head_bucket(**of),
        lambda _: True,
        lambda: client.make_bucket(bucket, locked=locked),
    )
    yield _Setting(
        "no public access",
        lambda: driver.get_public_access_block(**of)["PublicAccessBlockConfiguration"],
        lambda found: found == _CLOSED,
        lambda: driver.put_public_access_block(**of, PublicAccessBlockConfiguration=_CLOSED),
    )
    if rules.sse is not None:
        yield _encryption(driver, of, rules)
    if locked:
        yield _Setting(
            "versions",
            lambda: driver.get_bucket_versioning(**of).get("Status"),
            lambda found: bool(found == "Enabled"),
            lambda: driver.put_bucket_versioning(
                **of, VersioningConfiguration={"Status": "Enabled"}
            ),
        )
        yield _lock(driver, of, rules)
    yield _lifecycle(driver, of, rules)


def _encryption(driver: Any, of: dict[str, str], rules: BucketRules) -> _Setting:
    default = {"SSEAlgorithm": rules.sse}
    if rules.kms_key is not None:
        default["KMSMasterKeyID"] = rules.kms_key
    wanted = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}

    def read() -> Any:
        found = driver.get_bucket_encryption(**of)["ServerSideEncryptionConfiguration"]
        return found["Rules"][0]["ApplyServerSideEncryptionByDefault"]

    return _Setting(
        "encryption",
        read,
        lambda found: _has(found, default),
        lambda: driver.put_bucket_encryption(**of, ServerSideEncryptionConfiguration=wanted),
    )


def _lock(driver: Any, of: dict[str, str], rules: BucketRules) -> _Setting:
    retention = {"Mode": rules.lock_mode, "Days": rules.lock_days}
    wanted = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}

    def read() -> Any:
        found = driver.get_object_lock_configuration(**of)["ObjectLockConfiguration"]
        return found.get("Rule", {}).get("DefaultRetention", {})

    return _Setting(
        "object lock",
        read,
        lambda found: _has(found, retention),
        lambda: driver.put_object_lock_configuration(**of, ObjectLockConfiguration=wanted),
    )


def _has(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether everything that is wanted is there; a service may show more."""
    return all(found.get(name) == value for name, value in wanted.items())


def _lifecycle(driver: Any, of: dict[str, str], rules: BucketRules) -> _Setting:
    """Our rules beside those of others, which stay."""
    ours: list[dict[str, Any]] = [
        {
            "ID": "neo-polystore-incomplete",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": rules.abort_days},
        }
    ]
    if rules.lock_days is not None:
        ours.append(
            {
                "ID": "neo-polystore-noncurrent",
                "Status": "Enabled",
                "Filter": {"Prefix": ""},
                "NoncurrentVersionExpiration": {"NoncurrentDays": rules.noncurrent_days},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
            }
        )
    names = {rule["ID"] for rule in ours}
    others: list[dict[str, Any]] = []

    def read() -> Any:
        found = driver.get_bucket_lifecycle_configuration(**of)["Rules"]
        others.extend(rule for rule in found if rule.get("ID") not in names)
        return [rule for rule in found if rule.get("ID") in names]

    def fits(found: Any) -> bool:
        held = {rule["ID"]: rule for rule in found}
        # services differ in how they show that a rule is for everything
        return all(
            _has({**held.get(rule["ID"], {}), "Filter": rule["Filter"]}, rule) for rule in ours
        )

    return _Setting(
        "lifecycle",
        read,
        fits,
        lambda: driver.put_bucket_lifecycle_configuration(
            **of, LifecycleConfiguration={"Rules": [*others, *ours]}
        ),
    )
