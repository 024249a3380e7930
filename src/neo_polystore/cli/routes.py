"""`neo-polystore routes`: the distribution table that is in force."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table

from neo_polystore.cli.output import JsonOption, console, fail, print_json
from neo_polystore.errors import PolystoreError
from neo_polystore.routing import Route, load_routing
from neo_polystore.settings import Settings


def routes(as_json: JsonOption = False) -> None:
    """Show which store holds which data type, and for how long."""
    try:
        settings = Settings.load()
        table = load_routing(
            settings.neo_profile, settings.neo_routing, addressed=settings.addressed
        )
    except PolystoreError as error:
        raise fail(error) from None
    if as_json:
        print_json({"profile": table.profile, "routes": [asdict(route) for route in table]})
        return
    shown = Table(title=f"Routing ({table.profile} profile)", title_justify="left")
    for heading in ("data type", "primary", "cache", "backup", "retention"):
        shown.add_column(heading)
    for route in table:
        shown.add_row(
            route.data_type,
            route.primary,
            route.cache or "-",
            route.backup or "-",
            retention(route),
        )
    console.print(shown)


def retention(route: Route) -> str:
    """The retention in one line."""
    if isinstance(route.retention, str):
        return route.retention
    return ", ".join(f"{part} {age}" for part, age in route.retention.items())
