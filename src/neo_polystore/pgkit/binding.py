"""Whether row-level security binds a role: who must not serve as the application, and what to do.

A superuser and a role with BYPASSRLS pass by every policy; an owner may drop them; and a member of
such a role may become it. None of them may serve requests, in no engine and in no profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from neo_polystore.errors import UnsafeRoleError
from neo_polystore.pgkit.quoting import name
from neo_polystore.pgkit.roles import APPLICATION, OWNER

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

# An owner is who owns the database, a table with policies, or the ledger of migrations.
_ROLE = """
SELECT r.rolname AS role, d.datname AS database, r.rolsuper AS super, r.rolbypassrls AS bypasses,
    (SELECT min(m.rolname) FROM pg_roles m WHERE (m.rolsuper OR m.rolbypassrls)
        AND m.oid <> r.oid AND pg_has_role(r.oid, m.oid, 'MEMBER')) AS mightier,
    (SELECT min(o.rolname) FROM pg_roles o WHERE pg_has_role(r.oid, o.oid, 'MEMBER') AND o.oid IN (
        SELECT d.datdba UNION
        SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relrowsecurity OR (n.nspname, c.relname) = ('public', 'schema_revisions')
    )) AS owner
FROM pg_roles r JOIN pg_database d ON d.datname = current_database()
WHERE r.rolname = current_user
"""


async def require_bound(connection: Connection, *, store: str) -> None:
    """Raise UnsafeRoleError where policies do not bind the role of this connection.

    The message names the reason, the role to use and the statements that an administrator runs.
    """
    row = await connection.fetchrow(_ROLE)
    if row is None:
        return
    found = _reason(row)
    if found is not None:
        reason, remedy = found
        raise UnsafeRoleError(
            f"role {row['role']!r} {reason}, so tenants would not be kept apart: connect as"
            f" {APPLICATION} or a member of it (POSTGRES_USER). An administrator makes one with"
            f" `neo-polystore db roles create`, or runs: {remedy}",
            store=store,
            operation="connect",
        )


def _reason(row: asyncpg.Record) -> tuple[str, str] | None:
    """What is wrong with the role, and the statements that put it right."""
    role, database = name(row["role"]), name(row["database"])
    reassign = f"REASSIGN OWNED BY {role} TO {OWNER} (connected to {database})"
    join = f"GRANT {APPLICATION} TO {role}"
    if row["super"]:
        another = f"CREATE ROLE neo_user LOGIN PASSWORD '...'; GRANT {APPLICATION} TO neo_user"
        return "is a superuser", another
    if row["bypasses"]:
        return "has BYPASSRLS", f"ALTER ROLE {role} NOBYPASSRLS; {join}"
    if row["mightier"]:
        mightier = name(row["mightier"])
        return (
            f"is a member of {row['mightier']!r}, which is a superuser or has BYPASSRLS",
            f"REVOKE {mightier} FROM {role}; {join}",
        )
    if row["owner"] == row["role"]:
        return (
            f"owns the database {row['database']!r} or its tables",
            f"ALTER DATABASE {database} OWNER TO {OWNER}; {reassign}; {join}",
        )
    if row["owner"]:
        owner = name(row["owner"])
        return (
            f"is a member of {row['owner']!r}, which owns the database or its tables",
            f"REVOKE {owner} FROM {role}; {join}",
        )
    return None
