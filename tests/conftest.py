"""Fixtures that every suite shares: one embedded platform per run, databases of one's own in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.build import open_polystore
from neo_polystore.embedded import Membership
from neo_polystore.pgkit.bootstrap import prepare_database
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.roles import OWNER
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.s3.config import S3Config
from tests.addresses import address_of
from tests.embedded.clients import postgres as maintenance
from tests.mongod import NoServerError, mongo_url
from tests.opensearch.server import elasticsearch_url
from tests.redis_cluster import redis_cluster

MakeDatabase = Callable[[str], Awaitable[PgConfig]]


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """This test run's own data directory."""
    directory = Path(tempfile.mkdtemp(prefix="neo-polystore-tests-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded(data_dir: Path) -> AsyncIterator[Membership]:
    """Membership in the embedded servers of the data directory."""
    membership = await Membership.join(data_dir)
    yield membership
    await membership.leave()


@pytest.fixture(scope="session")
def settings(data_dir: Path) -> Settings:
    """Settings of the embedded profile in the data directory, whatever the environment says.

    Metrics are kept: those of the tests are old, and TimescaleDB's own job would drop them.
    """
    return Settings(  # type: ignore[call-arg]
        _env_file=None,
        neo_profile="embedded",
        neo_data_dir=data_dir,
        neo_metrics_raw="indefinite",
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def polystore(settings: Settings, embedded: Membership) -> AsyncIterator[Polystore]:
    """The whole facade on the embedded servers, shared by the tests that write under own keys."""
    async with open_polystore(settings) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def make_database(embedded: Membership) -> MakeDatabase:
    """Makes an empty database with its roles: `config = await make_database("primary")`."""
    server = await address_of("postgres", embedded)

    async def make(prefix: str) -> PgConfig:
        return await prepare_database(
            host=server.host,
            port=server.port,
            admin=server.user,
            admin_password=server.password,
            database=f"{prefix}_{uuid4().hex[:8]}",
        )

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def make_migrated(embedded: Membership, make_database: MakeDatabase) -> MakeDatabase:
    """Like `make_database`, with all that the relational store's migrations make.

    A copy of one that was migrated: that takes a tenth of the time of migrating.
    """
    server = await address_of("postgres", embedded)
    template = await make_database("template")
    await PostgresStore(template).migrate()

    async def make(prefix: str) -> PgConfig:
        config = template.model_copy(update={"database": f"{prefix}_{uuid4().hex[:8]}"})
        connection = await maintenance(server)
        try:
            await connection.execute(
                f"CREATE DATABASE {config.database} TEMPLATE {template.database} OWNER {OWNER}"
            )
            await connection.execute(  # what was granted on the database itself is not copied
                "UPDATE pg_database copy SET datacl = template.datacl FROM pg_database template"
                " WHERE copy.datname = $1 AND template.datname = $2",
                config.database,
                template.database,
            )
        finally:
            await connection.close()
        return config

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(make_database: MakeDatabase) -> AsyncIterator[PostgresStore]:
    """The relational store on a migrated database of its own, connected as the application."""
    store = PostgresStore(await make_database("primary"))
    await store.migrate()
    await store.connect()
    yield store
    await store.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_config(embedded: Membership) -> RedisConfig:
    """The embedded Redis, under a namespace of its own."""
    server = await address_of("redis", embedded)
    return RedisConfig(
        host=server.host,
        port=server.port,
        password=SecretStr(server.password),
        namespace=f"{uuid4().hex[:8]}:",
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster_config(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[RedisConfig]:
    """A Redis Cluster of three servers, told by the address of one."""
    async with redis_cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield RedisConfig(port=servers[0].port, cluster=True, namespace=f"{uuid4().hex[:8]}:")


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[str]:
    """The address of a MongoDB, see `tests/mongod.py`."""
    pytest.importorskip("pymongo", reason="the extra `mongo` is not installed")
    try:
        with mongo_url() as url:
            yield url
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def elasticsearch_server() -> Iterator[str]:
    """The address of an Elasticsearch, or of an OpenSearch; see `tests/opensearch/server.py`."""
    pytest.importorskip("elastic_transport", reason="the extra `elasticsearch` is not installed")
    try:
        with elasticsearch_url() as url:
            yield url
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def s3_config() -> Iterator[S3Config]:
    """NEO_TEST_S3_URL (`http://key:secret@host:port`), or moto's server in this process.

    The smallest parts there are, so that uploads of some megabytes are cut.
    """
    server = None
    url = os.environ.get("NEO_TEST_S3_URL")
    if not url:
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        url = f"http://test:test@{host}:{port}"
    parts = urlsplit(url)
    yield S3Config(
        endpoint_url=f"{parts.scheme}://{parts.hostname}:{parts.port}",
        access_key_id=parts.username,
        secret_access_key=SecretStr(parts.password or ""),
        create_buckets=True,
        part_size=5 << 20,
    )
    if server is not None:
        server.stop()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of sample files that the tests read."""
    return Path(__file__).parent / "data"
