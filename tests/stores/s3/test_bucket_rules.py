"""Buckets are set as the rules say, once, beside what others have set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from neo_polystore.cli.main import app
from neo_polystore.stores.s3.bucket_rules import BucketRules, set_up
from neo_polystore.stores.s3.client import S3Client
from neo_polystore.stores.s3.config import S3Config

LOCKED = BucketRules(lock_days=3, noncurrent_days=5)


@pytest.fixture
def bucket() -> str:
    return f"rules-{uuid4().hex[:12]}"


@pytest_asyncio.fixture
async def client(s3_config: S3Config) -> AsyncIterator[S3Client]:
    client = S3Client(s3_config)
    await client.connect()
    yield client
    await client.close()


def outcomes(client: S3Client, bucket: str, rules: BucketRules, **more: bool) -> dict[str, str]:
    steps = set_up(client, bucket, rules, dry_run=more.get("dry_run", False))
    found = {step.setting: f"{step.outcome}{step.detail}" for step in steps}
    # what a service does not offer is no failing of ours
    return {name: outcome for name, outcome in found.items() if outcome != "not offered"}


async def test_a_bucket_is_made_and_set_once(client: S3Client, bucket: str) -> None:
    assert outcomes(client, bucket, LOCKED, dry_run=True) == {"bucket": "pending"}
    first = outcomes(client, bucket, LOCKED)
    assert first["bucket"] == "done"
    assert set(first.values()) <= {"done", "is so"}
    assert set(outcomes(client, bucket, LOCKED).values()) == {"is so"}


async def test_what_is_put_there_is_locked(client: S3Client, bucket: str) -> None:
    if not {"versions", "object lock"} <= outcomes(client, bucket, LOCKED).keys():
        pytest.skip("this service has no object lock")
    driver = client.driver
    version = driver.put_object(Bucket=bucket, Key="a", Body=b"x")["VersionId"]
    driver.delete_object(Bucket=bucket, Key="a")  # leaves the version
    with pytest.raises(driver.exceptions.ClientError, match=r"AccessDenied|locked|WORM"):
        driver.delete_object(Bucket=bucket, Key="a", VersionId=version)


async def test_rules_of_others_stay(client: S3Client, bucket: str) -> None:
    client.make_bucket(bucket)
    theirs = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "tmp/"},
        "Expiration": {"Days": 1},
    }
    driver = client.driver
    try:
        driver.put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={"Rules": [theirs]},  # type: ignore[list-item]
        )
    except driver.exceptions.ClientError:
        pytest.skip("this service has no lifecycle rules")
    rules = BucketRules()
    assert outcomes(client, bucket, rules)["lifecycle"] == "done"
    found = driver.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {rule["ID"] for rule in found} == {"theirs", "neo-polystore-incomplete"}
    changed = BucketRules(abort_days=2)
    assert outcomes(client, bucket, changed)["lifecycle"] == "done"
    assert outcomes(client, bucket, changed)["lifecycle"] == "is so"


def test_the_bucket_of_the_backups_is_the_default(
    s3_config: S3Config, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", str(s3_config.endpoint_url))
    monkeypatch.setenv("S3_ACCESS_KEY_ID", str(s3_config.access_key_id))
    monkeypatch.setenv("S3_SECRET_ACCESS_KEY", s3_config.secret_access_key.get_secret_value())
    runner = CliRunner()
    assert "name a bucket" in runner.invoke(app, ["store", "s3", "init"]).output
    monkeypatch.setenv("NEO_BACKUP_TARGET", f"s3://{bucket}/some/prefix")
    assert runner.invoke(app, ["store", "s3", "init", "--dry-run"]).exit_code == 1
    done = runner.invoke(app, ["store", "s3", "init"])
    assert (done.exit_code, f"{bucket}: bucket: done" in done.output) == (0, True), done.output
    assert runner.invoke(app, ["store", "s3", "init", "--dry-run"]).exit_code == 0
