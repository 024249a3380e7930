"""The MongoDB engine against servers of other kinds: with TLS and logins, and standing alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from pydantic import SecretStr

from neo_polystore.errors import ConfigError, UnavailableError, UnsupportedError
from neo_polystore.records.documents import Document, document_models
from neo_polystore.records.query import Query
from tests.deploy.test_tls import certificates
from tests.mongod import Mongod, NoServerError

pytest.importorskip("pymongo", reason="the extra `mongo` is not installed")

from pymongo import MongoClient

from neo_polystore.stores.mongo.config import MongoConfig
from neo_polystore.stores.mongo.store import MongoStore

PASSWORD = "se cret%:/@"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for a server at localhost."""
    folder = tmp_path_factory.mktemp("tls")
    certificates(folder)
    return folder


@pytest.fixture(scope="module")
def guarded(tls: Path) -> Iterator[Mongod]:
    """A server that wants TLS, a client's certificate and a login."""
    options = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(tls / "server.pem")]
    options += ["--tlsCAFile", str(tls / "ca.crt"), "--auth"]
    try:
        with Mongod.in_folder(*options, alone=True) as server:
            client: MongoClient[dict[str, Any]] = MongoClient(
                f"mongodb://localhost:{server.port}",
                tls=True,
                tlsCAFile=str(tls / "ca.crt"),
                tlsCertificateKeyFile=str(tls / "server.pem"),
            )
            with client:  # the first user needs no login, from this machine
                client.admin.command(
                    "createUser", "neo", pwd=PASSWORD, roles=["readWriteAnyDatabase"]
                )
            yield server
    except NoServerError as error:
        pytest.skip(str(error))


@asynccontextmanager
async def store_at(server: Mongod, login: str = "", **tls: Any) -> AsyncIterator[MongoStore]:
    """A store, not connected."""
    url = SecretStr(f"mongodb://{login}localhost:{server.port}/")
    config = MongoConfig(url=url, database=f"t{uuid4().hex[:8]}", connect_timeout=2, **tls)
    store = MongoStore(config)
    yield store
    await store.close()


def entries() -> list[Document]:
    """Two audit entries."""
    model = document_models()["audit_logs"]
    body = {"timestamp": "2024-01-01T00:00:00Z", "user_id": "u", "action": "READ", "resource": "r"}
    return [model.parse(body), model.parse(body)]


def login(password: str = PASSWORD) -> str:
    """The part of the address that says who comes."""
    return f"neo:{quote(password, safe='')}@"


def files(tls: Path) -> dict[str, Any]:
    """What the settings say of TLS."""
    return {
        "tls": True,
        "tls_ca_file": tls / "ca.crt",
        "tls_certificate_key_file": tls / "server.pem",
    }


async def test_a_client_with_certificate_and_login_comes_in(guarded: Mongod, tls: Path) -> None:
    async with store_at(guarded, login(), **files(tls)) as store:
        await store.connect()
        await store.migrate()
        assert (await store.port("audit_logs").write(entries())).new == 2


async def test_a_wrong_password_is_a_configuration_error(guarded: Mongod, tls: Path) -> None:
    async with store_at(guarded, login("another"), **files(tls)) as store:
        with pytest.raises(ConfigError, match="refused the login"):
            await store.connect()


async def test_without_a_login_nothing_is_read(guarded: Mongod, tls: Path) -> None:
    async with store_at(guarded, **files(tls)) as store:
        await store.connect()
        with pytest.raises(ConfigError, match="refused the login"):
            await store.migrate()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("lacking", ["tls", "tls_ca_file", "tls_certificate_key_file"])
async def test_without_one_of_the_settings_nobody_comes_in(
    guarded: Mongod, tls: Path, lacking: str, refused: None
) -> None:
    given = {name: value for name, value in files(tls).items() if name != lacking}
    if lacking == "tls":
        given = {"tls": False}
    async with store_at(guarded, login(), **given) as store:
        with pytest.raises(UnavailableError):
            await store.connect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_to_a_server_without_it_is_unavailable(mongo_server: str, refused: None) -> None:
    config = MongoConfig(url=SecretStr(mongo_server), database="none", tls=True, connect_timeout=1)
    store = MongoStore(config)
    with pytest.raises(UnavailableError):
        await store.connect()
    await store.close()


@pytest.fixture
def alone() -> Iterator[str]:
    """The address of a server that is in no replica set."""
    try:
        with Mongod.in_folder(alone=True) as server:
            yield f"mongodb://127.0.0.1:{server.port}/"
    except NoServerError as error:
        pytest.skip(str(error))


async def test_a_server_that_stands_alone_stores_documents_and_tells_no_changes(alone: str) -> None:
    store = MongoStore(MongoConfig(url=SecretStr(alone), database="alone"))
    await store.connect()
    await store.migrate()
    port: Any = store.port("audit_logs")
    assert (await port.write(entries())).new == 2
    assert await port.count(Query()) == 2
    with pytest.raises(UnsupportedError, match="no change streams"):
        async with port.follow():
            pass
    await store.close()
