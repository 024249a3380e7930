"""The same from a bucket: base backups and WAL, which the recovering server fetches itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from neo_polystore.backup.bucket import BucketTarget
from neo_polystore.backup.places import open_target
from neo_polystore.clusters import recovered
from neo_polystore.pitr.access import access_of
from neo_polystore.pitr.check import check_all
from neo_polystore.pitr.plan import Goal, make_plan
from neo_polystore.pitr.restore import restore
from neo_polystore.stores.s3.config import S3Config
from tests.pitr.conftest import KEY, Chain, Rig, started


async def test_a_cluster_comes_back_from_a_bucket(
    rig: Rig, chain: Chain, s3_config: S3Config, into: Path
) -> None:
    settings = rig.settings.model_copy(
        update={
            "neo_backup_target": "s3://pitr-bucket/some/prefix",
            "s3_endpoint_url": s3_config.endpoint_url,
            "s3_access_key_id": s3_config.access_key_id,
            "s3_secret_access_key": SecretStr(s3_config.secret_access_key.get_secret_value()),
        }
    )
    target = open_target(settings)
    BucketTarget(s3_config, "pitr-bucket").check(writing=True)
    for item in chain.target.list():
        target.put(item.name, chain.target.get(item.name, most=1 << 30))
    (found,) = await check_all(target, KEY)
    assert found.ok, found
    plan = await make_plan(target, KEY, Goal(point="end-of-the-chain"))
    assert plan.base.id == chain.last.id
    access = access_of(settings)

    async def recover(data: Path, wanted: Mapping[str, str]) -> str:
        return await recovered(settings, data, access=access, target=wanted)

    done = await restore(target, plan, into, key=KEY, programs=rig.admin.programs, recover=recover)
    assert "end-of-the-chain" in done.reached
    async with started(into, rig) as connection:
        assert await connection.fetchval("SELECT pg_is_in_recovery()") is False
    target.close()
