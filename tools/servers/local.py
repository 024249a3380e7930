"""Servers that this machine has, or can build: each on a port of its own, with a new password."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.servers.running import (
    NoServerError,
    Running,
    account,
    folder,
    free_port,
    give,
    process,
    program,
    said,
)

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
BUILD = Path(__file__).parents[2] / "build"


@contextmanager
def postgres() -> Iterator[Running]:
    """PostgreSQL of the machine's own packages; the embedded one is what `make test` runs."""
    programs = _postgres_programs()
    with folder() as home:
        data, port, password = home / "data", free_port(), secrets.token_hex(16)
        pwfile = home / "password"
        pwfile.write_text(password)
        give(pwfile)
        options = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        subprocess.run(  # noqa: S603 - the machine's own program
            [programs / "initdb", f"--pgdata={data}", f"--pwfile={pwfile}", "--no-sync", *options],
            user=account(),
            cwd=home,
            capture_output=True,
            check=True,
        )
        words: list[str | Path] = [
            programs / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-k",
            "",
            "-c",
            "fsync=off",
        ]
        preload = ["-c", "shared_preload_libraries=pg_stat_statements"]
        with process([*words, *preload, "-c", "listen_addresses=127.0.0.1"], port, home):
            url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
            yield Running(said(programs / "postgres", "--version"), {"NEO_TEST_POSTGRES_URL": url})


@contextmanager
def postgres_programs() -> Iterator[Running]:
    """The same PostgreSQL, which the suites start themselves in place of the embedded one."""
    programs = _postgres_programs()
    yield Running(said(programs / "postgres", "--version"), {"NEO_EMBEDDED_PG_BIN": str(programs)})


def _postgres_programs() -> Path:
    found = sorted(
        (path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()),
        key=lambda path: int(path.parent.name),
    )
    if not found:
        raise NoServerError("there is no PostgreSQL: `apt-get install postgresql`, as root")
    return found[-1]


@contextmanager
def redis() -> Iterator[Running]:
    """Redis or Valkey of the machine's own packages."""
    server = program("valkey-server", "redis-server", hint="`apt-get install redis-server`")
    with folder() as home:
        port, password = free_port(), secrets.token_hex(16)
        config = home / "redis.conf"
        config.write_text(f'port {port}\nbind 127.0.0.1\nrequirepass {password}\nsave ""\n')
        give(config)
        with process([server, config], port, home):
            url = f"redis://:{password}@127.0.0.1:{port}"
            yield Running(_short(said(server, "--version")), {"NEO_TEST_REDIS_URL": url})


@contextmanager
def s3() -> Iterator[Running]:
    """versitygw, the server of docker-compose.yml, built by Go."""
    server = _versitygw()
    with folder() as home:
        port, key, secret = free_port(), secrets.token_hex(8), secrets.token_hex(16)
        data = home / "data"
        data.mkdir()
        give(data)
        words: list[str | Path] = [server, "--port", f"127.0.0.1:{port}", "--quiet", "posix", data]
        environment = {"ROOT_ACCESS_KEY": key, "ROOT_SECRET_KEY": secret}
        with process(words, port, home, environment):
            url = f"http://{key}:{secret}@127.0.0.1:{port}"
            version = VERSITYGW.rpartition("@")[2]
            yield Running(f"versitygw {version}", {"NEO_TEST_S3_URL": url})


@contextmanager
def given(variable: str) -> Iterator[Running]:
    """The server that a variable names already."""
    if variable not in os.environ:
        raise NoServerError(f"{variable} names none, and none can be installed here")
    yield Running(f"of {variable}", {})


@contextmanager
def built_in() -> Iterator[Running]:
    """What the suites start by themselves."""
    yield Running("of the tests", {}, is_of_the_tests=True)


@contextmanager
def installed(*names: str, hint: str) -> Iterator[Running]:
    """A program that the suites start by themselves, where it is installed."""
    found = program(*names, hint=hint)
    yield Running(_short(said(found, "--version")), {}, is_of_the_tests=True)


def _short(version: str) -> str:
    """What a program says of its version without how it was built."""
    return " ".join(version.split()[:3])


def _versitygw() -> Path:
    made = BUILD / "versitygw-v1.8.0" / "versitygw"
    if not made.exists():
        go = program("go", hint="it builds versitygw")
        done = subprocess.run(  # noqa: S603
            [go, "install", VERSITYGW],
            env={**os.environ, "GOBIN": str(made.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["?"])[-1]
            raise NoServerError(f"versitygw cannot be built: {last}")
    return made
