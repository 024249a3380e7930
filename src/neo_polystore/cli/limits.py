"""`neo-polystore limits`: policies in force, and one client's limits: check, show, reset."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, fail, print_json, run
from neo_polystore.cli.text import printable
from neo_polystore.errors import PolystoreError, UsageError
from neo_polystore.ops.limit_policies import Policies, load_policies
from neo_polystore.ports.limits import ALGORITHMS, Algorithm, Check, Decision, Limit
from neo_polystore.settings import Settings

app = typer.Typer(help="Rate limits: policies, and what a client has used.", no_args_is_help=True)

Client = Annotated[str, typer.Argument(help="The client: an address, or who a token speaks for.")]
Endpoint = Annotated[str, typer.Argument(help="A policy of NEO_LIMITS, or with --limit any name.")]
LimitOption = Annotated[int | None, typer.Option("--limit", help="Units per window.")]
Window = Annotated[int, typer.Option(help="The window in seconds.")]
Cost = Annotated[int | None, typer.Option(help="Units that this check takes.")]
Burst = Annotated[int | None, typer.Option(help="What the bucket holds (token_bucket).")]
Kind = Annotated[str, typer.Option("--algorithm", help=f"One of {', '.join(ALGORITHMS)}.")]


@app.command()
def policies(as_json: JsonOption = False) -> None:
    """Show the policies of NEO_LIMITS and the routes they hold for."""
    try:
        found = _policies()
    except PolystoreError as error:
        raise fail(error) from None
    if as_json:
        routes = {
            each.route: [policy.name for policy in each.policies] for each in found.assignments
        }
        print_json({"policies": {n: asdict(p) for n, p in found.named.items()}, "routes": routes})
        return
    table = Table(title="Policies", title_justify="left")
    for heading in ("policy", "algorithm", "limit", "window s", "burst", "cost", "Redis down"):
        table.add_column(heading)
    table.add_column("routes", overflow="fold")
    for name, policy in found.named.items():
        limit = policy.limit
        where = [each.route for each in found.assignments if policy in each.policies]
        numbers = (limit.limit, limit.window_seconds, limit.burst or "-", policy.cost)
        table.add_row(
            name, limit.algorithm, *map(str, numbers), policy.on_failure, escape(", ".join(where))
        )
    console.print(table)


@app.command()
def check(
    client: Client,
    endpoint: Endpoint,
    limit: LimitOption = None,
    window: Window = 60,
    cost: Cost = None,
    algorithm: Kind = "fixed_window",
    burst: Burst = None,
    as_json: JsonOption = False,
) -> None:
    """Take units as a request would; exit code 1 where they are refused."""
    found = run(_judge(client, endpoint, limit, window, cost, algorithm, burst, taking=True))
    _show(client, endpoint, found, as_json=as_json)
    if not found.allowed:
        raise typer.Exit(1)


@app.command()
def show(
    client: Client,
    endpoint: Endpoint,
    limit: LimitOption = None,
    window: Window = 60,
    cost: Cost = None,
    algorithm: Kind = "fixed_window",
    burst: Burst = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is left, and take nothing."""
    found = run(_judge(client, endpoint, limit, window, cost, algorithm, burst, taking=False))
    _show(client, endpoint, found, as_json=as_json)


@app.command()
def reset(
    client: Client,
    endpoint: Endpoint,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be, change nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget what the client used, under every algorithm."""
    gone = run(_reset(client, endpoint, dry_run=dry_run))
    if as_json:
        print_json({"reset": gone, "dry_run": dry_run})
        return
    verb = "would be" if dry_run else "were" if gone != 1 else "was"
    console.print(f"{gone} counter{'' if gone == 1 else 's'} {verb} forgotten")


def _policies() -> Policies:
    path = Settings.load().limits_file
    return Policies({}) if path is None else load_policies(path)


async def _judge(
    client: str,
    endpoint: str,
    limit: int | None,
    window: int,
    cost: int | None,
    algorithm: str,
    burst: int | None,
    *,
    taking: bool,
) -> Decision:
    if limit is None:
        policy = _policies()[endpoint]
        wanted = Check(endpoint, policy.limit, cost or policy.cost)
    else:
        wanted = Check(endpoint, Limit(limit, window, _known(algorithm), burst), cost or 1)
    if cost is not None and cost < 1:
        raise UsageError(f"cost must be a positive whole number, got {cost}")
    async with open_polystore(data_types={"limits"}) as polystore:
        if not taking:
            return await polystore.limits.peek(client, wanted)
        [decision] = await polystore.limits.check_all(client, [wanted])
        return decision


def _known(name: str) -> Algorithm:
    for algorithm in ALGORITHMS:
        if algorithm == name:
            return algorithm
    raise UsageError(f"no algorithm {name!r}; there are {', '.join(ALGORITHMS)}")


async def _reset(client: str, endpoint: str, *, dry_run: bool) -> int:
    async with open_polystore(data_types={"limits"}) as polystore:
        return await polystore.limits.reset(client, endpoint, dry_run=dry_run)


def _show(client: str, endpoint: str, found: Decision, *, as_json: bool) -> None:
    if as_json:
        print_json(found._asdict())
        return
    if found.allowed:
        state = "admitted"
    elif found.retry_after is None:
        state = f"refused: the cost is above the {found.limit} that are ever admitted at once"
    else:
        state = f"refused: try again in {found.retry_after:.1f} s"
    names = escape(printable(f"{client} at {endpoint}"))
    console.print(f"{names}: {state}; {found.remaining} of {found.limit} left")
