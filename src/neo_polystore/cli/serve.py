"""`neo-polystore serve`: the REST API on this machine."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import Annotated

import typer
import uvicorn

from neo_polystore.cli.output import err, fail
from neo_polystore.errors import ConfigError, PolystoreError
from neo_polystore.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (NEO_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (NEO_PORT).")] = None,
) -> None:
    """Serve the platform until Ctrl-C."""
    try:
        settings = Settings.load()
        host = require_loopback(host or settings.neo_host)
    except PolystoreError as error:
        raise fail(error) from None
    from neo_polystore.api.app import create_app

    port = port or settings.neo_port
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=10,
        )
    )
    shown = f"[{host}]" if ":" in host else host
    err.print(f"neo_polystore ({settings.neo_profile} profile) at http://{shown}:{port}")
    err.print(f"  API docs  http://{shown}:{port}/docs")
    err.print(f"  health    http://{shown}:{port}/health")
    err.print("Ctrl-C stops it.")
    with suppress(KeyboardInterrupt):  # uvicorn has shut down by then; Ctrl-C is the way to stop
        server.run()
    if settings.neo_profile == "embedded":
        err.print(f"Stopped. The data is in {settings.neo_data_dir}")
    if not server.started:
        raise typer.Exit(3)


def require_loopback(host: str) -> str:
    """The host, if it is this machine's own; the API has no authentication yet."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"will not listen on {host}: the API has no authentication yet, so it serves this"
            " machine only. Use 127.0.0.1, ::1 or localhost, and a reverse proxy that"
            " authenticates where others need access"
        )
    return host
