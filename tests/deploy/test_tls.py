"""scripts/make-certificates.sh, and PostgreSQL with the certificates it makes."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.deploy.conftest import files, open_folder, server
from tests.deploy.programs import DEPLOY, give
from tests.deploy.renderer import ROOT

SCRIPT = ROOT / "scripts" / "make-certificates.sh"
PASSWORD = "for a test"


def certificates(folder: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["/bin/sh", SCRIPT, folder], capture_output=True, check=True)


@pytest.fixture(scope="module")
def programs_with_tls() -> Path:
    """Debian's PostgreSQL: the embedded one is built without TLS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists() and int(folder.parent.name) >= 15:
            return folder
    pytest.skip("no PostgreSQL with TLS: `apt-get install postgresql`, as root")


@pytest.fixture(scope="module")
def encrypted(programs_with_tls: Path) -> Iterator[tuple[int, Path]]:
    """Port and certificates of a server with the files of docker-compose.tls.yml."""
    with open_folder() as folder:
        tls = folder / "tls"
        certificates(tls)
        files(folder)
        shutil.copy(DEPLOY / "postgres" / "pg_hba.tls.conf", folder / "pg_hba.conf")
        own = folder / "own"
        text = (DEPLOY / "postgres" / "tls.conf").read_text()
        assert "/run/tls/" in text
        (folder / "tls.conf").write_text(text.replace("/run/tls/", f"{own}/"))
        give(folder)
        paths = {"NEO_TLS": str(tls), "NEO_TLS_OWN": str(own)}
        with server(folder, programs_with_tls, PASSWORD, **paths) as port:
            yield port, tls


def test_an_authority_that_is_there_goes_on_being_used(tmp_path: Path) -> None:
    certificates(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in ("ca.crt", "server.crt")]
    certificates(tmp_path)
    after = [(tmp_path / name).read_bytes() for name in ("ca.crt", "server.crt")]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_nobody_else_can_read_a_key(tmp_path: Path) -> None:
    certificates(tmp_path)
    for name in ("ca.key", "server.key", "server.pem"):
        assert (tmp_path / name).stat().st_mode & 0o007 == 0, name


async def test_a_client_that_verifies_the_server_comes_in(encrypted: tuple[int, Path]) -> None:
    port, tls = encrypted
    context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
    connection = await asyncpg.connect(
        host="localhost", port=port, user="postgres", password=PASSWORD, ssl=context
    )
    version = await connection.fetchval(
        "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    )
    await connection.close()
    assert version in ("TLSv1.2", "TLSv1.3")


async def test_a_client_that_trusts_another_authority_does_not(
    encrypted: tuple[int, Path], tmp_path: Path
) -> None:
    certificates(tmp_path)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncpg.connect(
            host="localhost", port=encrypted[0], user="postgres", password=PASSWORD, ssl=context
        )


async def test_without_tls_nobody_comes_in(encrypted: tuple[int, Path]) -> None:
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(
            host="127.0.0.1", port=encrypted[0], user="postgres", password=PASSWORD, ssl="disable"
        )
