"""Whether a live database still has the schema that `schemas/postgres` shows."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import asyncpg

from neo_polystore.assets import asset
from neo_polystore.errors import UnavailableError
from neo_polystore.pgkit import schema_text
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.roles import OWNER, ROLES

DUMPED_BY = 18
"""The version of pg_dump that wrote the files: another one lays things out differently."""

_VERSION = re.compile(r"\b(\d+)(\.|devel|beta|rc)")


async def drift(config: PgConfig, environment: str) -> list[str]:
    """What differs between the files of an environment and the database, a line per file.

    Schemas that no file is about are left alone: other engines may keep theirs in the same
    database. Raises UnavailableError where the right pg_dump is missing.
    """
    program = await _program(config)
    expected = schema_text.read(asset(f"schemas/postgres/{environment}"))
    dumped = await schema_text.dump(config.direct(), pg_dump=program)
    found = {name: text for name, text in dumped.items() if name in expected}
    absent = await _absent_roles(config)
    owner = config.owner or config.user
    return schema_text.differences(
        {name: _without(text, absent) for name, text in expected.items()},
        {
            name: text.replace(f"FOR ROLE {owner} ", f"FOR ROLE {OWNER} ")
            for name, text in found.items()
        },
    )


async def _program(config: PgConfig) -> Path:
    folder = config.programs
    found = shutil.which("pg_dump", path=str(folder) if folder else None)
    if found is None:
        raise UnavailableError(f"there is no pg_dump in {folder or 'PATH'}")
    process = await asyncio.create_subprocess_exec(
        found, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    version = _VERSION.search(out.decode(errors="replace"))
    if version is None or int(version[1]) != DUMPED_BY:
        said = out.decode(errors="replace").strip() or "nothing"
        raise UnavailableError(f"pg_dump {DUMPED_BY} is needed, and {found} says {said!r}")
    return Path(found)


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
