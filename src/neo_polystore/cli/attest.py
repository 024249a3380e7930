"""`neo-polystore attest`: verify quotes, show what was kept, judge it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import ValidationError as PydanticError
from rich.markup import escape
from rich.table import Table

from neo_polystore.attestation.policy import Policy
from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, print_json, print_rows, run
from neo_polystore.cli.text import cell
from neo_polystore.errors import UsageError, ValidationError
from neo_polystore.records.base import problems_of
from neo_polystore.sealing.attesting import Attesting, summary
from neo_polystore.sealing.evidence import Recheck
from neo_polystore.settings import Settings

app = typer.Typer(
    help="What enclaves are proven to be, by Intel's DCAP quotes.", no_args_is_help=True
)

Id = Annotated[UUID, typer.Argument(metavar="ID", help="As `attest verify` answered.")]


@asynccontextmanager
async def opened() -> AsyncIterator[Attesting]:
    """Attestation, with the audit trail."""
    data_types = {"audit_logs", "sealed"}
    async with open_polystore(Settings.load(), data_types=data_types) as polystore:
        yield polystore.sealing.attesting()


@app.command()
def verify(
    quote: Annotated[Path, typer.Argument(help="The quote, binary or in hexadecimal.")],
    collateral: Annotated[
        Path | None,
        typer.Option(help="Intel's collateral, as JSON; none: fetched from NEO_PCCS_URL."),
    ] = None,
    at: Annotated[str | None, typer.Option(help="As of this time (ISO 8601); none: now.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Rules, as JSON; none: strict ones.")] = None,
    enclave: Annotated[str, typer.Option(help="Name of the enclave.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Judge a quote and keep all that the verdict was made of. Exit code 1: rejected.

    Nothing is asked for over the network, unless NEO_PCCS_URL is set and no collateral is given.
    """

    async def work() -> dict[str, Any]:
        data, time, rules = _quote(quote), _time(at), _policy(policy)
        known = _read(collateral) if collateral is not None else None
        async with opened() as attesting:
            kept, verdict = await attesting.verify(
                data, known, at=time, policy=rules, enclave=enclave
            )
        return {"id": kept, **verdict.as_dict()}

    found = run(work())
    if as_json:
        print_json(found)
    else:
        _show(found)
    if not found["accepted"]:
        raise typer.Exit(1)


@app.command("list")
def list_command(
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100, as_json: JsonOption = False
) -> None:
    """List the verdicts that are kept, the newest first."""

    async def work() -> list[dict[str, Any]]:
        async with opened() as attesting:
            return [summary(kept) for kept in await attesting.list(limit=limit)]

    columns = ("id", "judged_at", "accepted", "status", "enclave", "mr_enclave")
    print_rows(run(work()), columns, as_json=as_json)


@app.command()
def show(attestation: Id, as_json: JsonOption = False) -> None:
    """Show a verdict that was kept, with the policy that it was made by."""

    async def work() -> dict[str, Any]:
        async with opened() as attesting:
            kept = await attesting.get(attestation)
        return {"id": kept.id, "policy": kept.policy, **kept.verdict}

    found = run(work())
    if as_json:
        print_json(found)
    else:
        _show(found)


@app.command()
def recheck(attestation: Id, as_json: JsonOption = False) -> None:
    """Judge kept evidence again, as of then and as of now. Exit code 1: then is another now."""

    async def work() -> Recheck:
        async with opened() as attesting:
            return await attesting.recheck(attestation)

    found = run(work())
    if as_json:
        print_json(found.as_dict())
    else:
        console.print(
            "the kept verdict " + ("holds" if found.holds else "[red]does not hold[/red]")
        )
        for name, verdict in (("then", found.then), ("now", found.now)):
            console.print(f"\n[bold]{name}[/bold]")
            _show(verdict.as_dict())
    if not found.holds:
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    quote = found.get("quote") or {}
    report = quote.get("report", {})
    rows = {
        "id": found.get("id"),
        "accepted": found["accepted"],
        "genuine": found["genuine"],
        "at": found["at"],
        "TCB status": found["status"],
        "advisories": ", ".join(found["advisories"]),
        "reasons": "; ".join(found["reasons"]),
        "collateral ends": found["expires"],
        "quote": f"{quote['tee']} version {quote['version']}" if quote else None,
        "measurement": report.get("mr_enclave") or report.get("mr_td"),
        "signer": report.get("mr_signer") or report.get("mr_owner"),
    }
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value not in (None, ""):
            table.add_row(name, escape(cell(value)))
    console.print(table)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _quote(path: Path) -> bytes:
    data = _read(path)
    try:
        return bytes.fromhex(data.decode("ascii").strip().removeprefix("0x"))
    except ValueError:
        return data


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text}: expected ISO 8601") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _policy(path: Path | None) -> Policy | None:
    if path is None:
        return None
    try:
        return Policy.model_validate_json(_read(path))
    except PydanticError as error:
        raise ValidationError(problems_of(error), operation="attest") from None
