"""The index template that every day's index is made from: applied and compared."""

from __future__ import annotations

from typing import Any

from neo_polystore.ports.store import MigrationReport
from neo_polystore.stores.elasticsearch.client import Client
from neo_polystore.stores.elasticsearch.documents import template
from neo_polystore.stores.elasticsearch.errors import STORE


async def apply(client: Client, *, dry_run: bool) -> MigrationReport:
    """Give the server the template of the file where its own is missing or differs."""
    wanted = template(client.config)
    current = await _current(client)
    step = f"template {client.config.prefix} {wanted['version']}"
    differs = current is None or _compared(current) != _compared(wanted)
    if differs and not dry_run:
        path = ["_index_template", client.config.prefix]
        await client.ask("migrate", "PUT", path, wanted)
        current = wanted
    return MigrationReport(
        store=STORE,
        target=client.config.prefix,
        current=None if current is None else f"{client.config.prefix} {current.get('version')}",
        applied=[step] if differs and not dry_run else [],
        pending=[step] if differs and dry_run else [],
    )


async def drift(client: Client) -> list[str]:
    """The days whose fields are not those of the template, as `index: field: what differs`."""
    wanted = template(client.config)["template"]["mappings"]["properties"]
    answer = await client.ask("validate", "GET", [client.config.pattern, "_mapping"], missing={})
    problems: list[str] = []
    for index, found in sorted(answer.items()):
        held = found["mappings"].get("properties", {})
        problems += [
            f"{index}: {name} is {held.get(name)}, not {wanted.get(name)}"
            for name in sorted(wanted.keys() | held.keys())
            if _field(held.get(name)) != _field(wanted.get(name))
        ]
    return problems


async def _current(client: Client) -> dict[str, Any] | None:
    path = ["_index_template", client.config.prefix]
    answer = await client.ask("migrate", "GET", path, missing={"index_templates": []})
    found = answer["index_templates"]
    return found[0]["index_template"] if found else None


def _compared(template: dict[str, Any]) -> Any:
    """What of a template matters; the server answers settings as text, under `index`."""
    content = template["template"]
    mappings = content.get("mappings", {})
    settings = content.get("settings", {})
    settings = settings.get("index", settings)
    return (
        template.get("version"),
        sorted(template["index_patterns"]),
        {name: str(value) for name, value in settings.items()},
        {name: _field(each) for name, each in mappings.get("properties", {}).items()},
        str(mappings.get("dynamic")),
    )


def _field(mapping: dict[str, Any] | None) -> dict[str, str] | None:
    """A field's mapping without what is the default anyway (`type: object`)."""
    if mapping is None:
        return None
    return {k: str(v) for k, v in mapping.items() if (k, v) != ("type", "object")}
