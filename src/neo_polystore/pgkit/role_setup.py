"""What a server's roles lack: found by comparing, as statements that can be run or shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import asyncpg

from neo_polystore.pgkit.quoting import identifier, literal, name
from neo_polystore.pgkit.roles import Role
from neo_polystore.pgkit.scram import verifier

PRELOADED = ("pg_stat_statements", "timescaledb")
EXTENSIONS = ("pg_trgm", "btree_gist", "uuid-ossp", "pgcrypto", "pg_stat_statements", "timescaledb")
"""Those that the specification names. Nothing depends on one that the server does not offer."""

_FOUND = """
SELECT r.rolname, r.rolcanlogin, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls,
    r.rolreplication, ARRAY(
        SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
        WHERE m.member = r.oid
    ) AS groups
FROM pg_roles r WHERE r.rolname = ANY($1)
"""

_ATTRIBUTES = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolbypassrls": "BYPASSRLS",
    "rolreplication": "REPLICATION",
    "rolcanlogin": "LOGIN",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One statement for a role. `sql` may hold a password's verifier; `shown` has none."""

    role: str
    sql: str = field(repr=False)
    shown: str


async def lacking(
    connection: asyncpg.Connection[asyncpg.Record],
    wanted: Iterable[Role],
    passwords: Mapping[str, str] | None = None,
) -> list[Step]:
    """The statements that make the server's roles what they should be, in order.

    Roles that `passwords` names get that password, new or not; it stays on this side, the server
    is sent its SCRAM verifier. A role that has more than it should have loses it, but for one
    thing: a group that was given a login keeps it. Reading needs no privilege.
    """
    wanted = list(wanted)
    rows = await connection.fetch(_FOUND, [role.name for role in wanted])
    found = {row["rolname"]: row for row in rows}
    steps: list[Step] = []
    for role in wanted:
        row = found.get(role.name)
        words = list(_creating(role) if row is None else _changing(role, row))
        password = (passwords or {}).get(role.name)
        if row is None:
            first = [words.pop(0)] if words and words[0] == "LOGIN" else []
            steps.append(_step("CREATE ROLE", role, first, password))
        elif password:
            steps.append(_step("ALTER ROLE", role, [], password))
        # one by one: an administrator who may not grant one of them still grants the others
        steps += [_step("ALTER ROLE", role, [word], None) for word in words]
        if role.member_of and (row is None or role.member_of not in row["groups"]):
            sql = f"GRANT {name(role.member_of)} TO {name(role.name)}"
            steps.append(Step(role.name, sql, sql))
    return steps


def _creating(role: Role) -> Iterable[str]:
    yield from (word for word, yes in role.attributes.items() if yes)


def _changing(role: Role, row: asyncpg.Record) -> Iterable[str]:
    for column, word in _ATTRIBUTES.items():
        yes = role.attributes[word]
        if bool(row[column]) != yes and (word != "LOGIN" or yes):
            yield word if yes else f"NO{word}"


def _step(command: str, role: Role, words: list[str], password: str | None) -> Step:
    parts = [command, name(role.name), *words]
    if not password:
        sql = " ".join(parts)
        return Step(role.name, sql, sql)
    return Step(
        role.name,
        " ".join([*parts, "PASSWORD", literal(verifier(password))]),
        " ".join([*parts, "PASSWORD", "'...'"]),
    )


async def lacking_databases(
    connection: asyncpg.Connection[asyncpg.Record], names: Iterable[str], *, owner: str
) -> list[Step]:
    """The statements that make databases, or give them to their owner."""
    names = list(dict.fromkeys(names))
    rows = await connection.fetch(
        "SELECT datname, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = ANY($1)",
        names,
    )
    found = {row["datname"]: row["owner"] for row in rows}
    steps = []
    for database in names:
        if database not in found:
            sql = f"CREATE DATABASE {name(database)} OWNER {name(owner)} TEMPLATE template0"
            steps.append(Step(owner, sql, sql))
        elif found[database] != owner:
            sql = f"ALTER DATABASE {name(database)} OWNER TO {name(owner)}"
            steps.append(Step(owner, sql, sql))
    return steps


async def lacking_extensions(connection: asyncpg.Connection[asyncpg.Record]) -> list[Step]:
    """The statements that create extensions which the server offers and can create now.

    Only an administrator may create most of them, so they are no part of the migrations.
    TimescaleDB kills the session unless it is preloaded, so that is asked first.
    """
    rows = await connection.fetch(
        "SELECT name FROM pg_available_extensions"
        " WHERE installed_version IS NULL AND name = ANY($1) AND (NOT name = ANY($2)"
        " OR name = ANY(string_to_array(current_setting('shared_preload_libraries'), ',')))",
        list(EXTENSIONS),
        list(PRELOADED),
    )
    found = [f"CREATE EXTENSION IF NOT EXISTS {identifier(row['name'])}" for row in rows]
    return [Step("", sql, sql) for sql in found]


async def apply(
    connection: asyncpg.Connection[asyncpg.Record], steps: Iterable[Step]
) -> list[Step]:
    """Run the statements; the answer is those that this role may not run, to be run by another.

    Each is a transaction of its own.
    """
    refused: list[Step] = []
    for step in steps:
        try:
            await connection.execute(step.sql)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedObjectError):
            refused.append(step)  # or it needs what was refused before
    return refused
