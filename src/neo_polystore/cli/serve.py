"""`neo-polystore serve`: the REST API on this machine."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from typing import Annotated, Final

import typer
import uvicorn
from rich.markup import escape

from neo_polystore.api.protocol import patient
from neo_polystore.assets import asset
from neo_polystore.auth.configured import tokens_of
from neo_polystore.build import open_polystore
from neo_polystore.cli.output import err, fail, run
from neo_polystore.errors import ConfigError, PolystoreError
from neo_polystore.ops import log_setup
from neo_polystore.ops.collector import settle
from neo_polystore.ops.demo import run_demo
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (NEO_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (NEO_PORT).")] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="First write a sample of every data type, as `demo`.")
    ] = False,
) -> None:
    """Serve the platform until Ctrl-C: the API, the outbox's relay and the scheduler."""
    try:
        settings = Settings.load()
        settings = protected(settings, host or settings.neo_host)
        log_setup.configure(settings)
        listener = listen(host or settings.neo_host, port or settings.neo_port)
    except PolystoreError as error:
        raise fail(error) from None
    if settings.neo_profile == "server":
        run(_allowed(settings))
    from neo_polystore.api.app import create_app

    async def started(polystore: Polystore) -> None:
        if samples:
            await _write_samples(polystore, settings)
        settle()
        _announce(settings, listener)

    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, started=started),
            http=patient(settings.neo_header_seconds),
            log_config=None,  # as everything else logs
            access_log=False,  # NEO_LOG_REQUESTS
            proxy_headers=False,  # NEO_TRUSTED_PROXIES says whose are believed, and for what
            timeout_graceful_shutdown=10,
        )
    )
    with suppress(KeyboardInterrupt):  # uvicorn has shut down by then; Ctrl-C is the way to stop
        server.run(sockets=[listener])
    if settings.neo_profile == "embedded":
        err.print(f"Stopped. The data is in {settings.neo_data_dir}", soft_wrap=True)
    if not server.started:
        raise typer.Exit(3)


async def _allowed(settings: Settings) -> None:
    """Say it in a sentence, before anything is served, where the database role must not serve."""
    async with open_polystore(settings, data_types={"accounts"}, tolerant=True):
        pass


async def _write_samples(polystore: Polystore, settings: Settings) -> None:
    """The demo, told in a line; a store that is down must not keep the others from serving."""
    try:
        found = await run_demo(polystore, settings.scope())
    except PolystoreError as error:
        err.print(f"samples: {escape(str(error))}")
        return
    stored = sum(line.written for line in found.lines)
    state = "are stored" if found.ok else "are NOT all stored: run `neo-polystore demo`"
    err.print(f"samples: {stored} records of {len(found.lines)} data types {state}")


def _announce(settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    err.print(f"neo_polystore ({settings.neo_profile} profile) serves at {address}")
    err.print(f"  API docs  {address}/docs")
    err.print(f"  health    {address}/health")
    err.print("Ctrl-C stops it.")


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address of this machine; ConfigError for another, or a port in use."""
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
        ) from None


def protected(settings: Settings, host: str) -> Settings:
    """The settings to serve with on this address; ConfigError where it is not safe to.

    On loopback requests must be addressed to this machine by a name of its own, where nothing else
    is set: a web page cannot get in by a name that its owner lets point here.
    """
    if is_loopback(host):
        hosts = settings.neo_trusted_hosts or ",".join(LOOPBACK)
        return settings.model_copy(update={"neo_trusted_hosts": hosts})
    if tokens_of(settings) is None and settings.neo_auth != "required":
        raise ConfigError(
            f"will not listen on {host}: others could reach the API there, and no way to tell who"
            " they are is set. Set JWT_SECRET_KEY or NEO_JWT_JWKS, or NEO_AUTH=required where"
            " logins and API keys are enough; or listen on 127.0.0.1, ::1 or localhost"
        )
    limits = settings.neo_limits or asset("schemas/limits.toml")
    return settings.model_copy(update={"neo_auth": "required", "neo_limits": limits})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
