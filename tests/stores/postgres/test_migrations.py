"""Migrations: once each, all or nothing, back and forth, and watched."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from neo_polystore import assets
from neo_polystore.errors import ConfigError, PolystoreError, UnavailableError, UsageError
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.pgkit import migrations
from neo_polystore.pgkit.alembic_runner import run
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.query import Query
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conftest import MakeDatabase

ALL = [revision.id for revision in migrations.revisions("primary")]


@pytest.fixture
async def config(make_database: MakeDatabase) -> PgConfig:
    """An empty database."""
    return await make_database("migrations")


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the revisions that a test may change."""
    copied = tmp_path / "migrations" / "primary"
    shutil.copytree(assets.asset("migrations/primary"), copied)
    monkeypatch.setattr(assets, "_ROOTS", (tmp_path,))
    return copied / "versions"


def add(versions: Path, name: str, *, after: str, body: str, head: str = "") -> None:
    """Write one more revision."""
    (versions / f"{name}.py").write_text(
        f'"""A test\'s."""\n\nfrom alembic import op\n\nrevision = "{name}"\n'
        f'down_revision = "{after}"\n{head}\n\ndef upgrade():\n    {body}\n\n\n'
        "def downgrade():\n    pass\n"
    )


async def ask(config: PgConfig, sql: str) -> list[str]:
    """The first column of a query, as the owner."""
    connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    try:
        return [str(row[0]) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def catalog(config: PgConfig) -> list[str]:
    """Every fact about the schema that a migration could leave behind or forget."""
    return await ask(
        config,
        """
        WITH ours AS (SELECT oid FROM pg_namespace
            WHERE nspowner = current_user::regrole OR nspname = 'public'),
        own AS (SELECT oid FROM pg_proc p WHERE pronamespace IN (SELECT oid FROM ours)
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'))
        SELECT format('column %s.%s %s %s %s', attrelid::regclass, attname,
            format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attnum > 0 AND NOT attisdropped AND c.relnamespace IN (SELECT oid FROM ours)
        UNION ALL SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours)
        UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c
            ON c.oid = indexrelid WHERE c.relnamespace IN (SELECT oid FROM ours)
        UNION ALL SELECT format('policy %s %s %s %s %s %s', polrelid::regclass, polname, polcmd,
            polroles::regrole[], pg_get_expr(polqual, polrelid),
            pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
        UNION ALL SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE NOT tgisinternal
        UNION ALL SELECT pg_get_functiondef(oid) FROM own
        UNION ALL SELECT format('relation %s %s %s %s %s %s', oid::regclass, relkind,
            coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
                relowner)), relrowsecurity, relforcerowsecurity, reloptions)
        FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours)
        UNION ALL SELECT format('view %s %s', oid::regclass, pg_get_viewdef(oid))
        FROM pg_class WHERE relkind = 'v' AND relnamespace IN (SELECT oid FROM ours)
        UNION ALL SELECT format('column %s.%s %s %s', attrelid::regclass, attname,
            coalesce(attacl, '{}'), attstorage)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE attnum > 0 AND NOT attisdropped AND c.relnamespace IN (SELECT oid FROM ours)
        UNION ALL SELECT format('comment %s %s', obj_description(oid), nspname)
        FROM pg_namespace WHERE nspowner = current_user::regrole
        UNION ALL SELECT format('function %s %s', p.oid::regprocedure,
            coalesce(proacl, acldefault('f', proowner)))
        FROM pg_proc p JOIN own USING (oid)
        UNION ALL SELECT format('schema %s %s', nspname,
            coalesce(nspacl, acldefault('n', nspowner)))
        FROM pg_namespace JOIN ours USING (oid)
        UNION ALL SELECT format('database %s', datacl)
        FROM pg_database WHERE datname = current_database()
        UNION ALL SELECT format('default %s %s %s', defaclnamespace::regnamespace,
            defaclobjtype, defaclacl) FROM pg_default_acl
        ORDER BY 1
        """,
    )


def schema_of(facts: list[str]) -> list[str]:
    """The facts without those about the database itself."""
    return [fact for fact in facts if not fact.startswith("database")]


async def migrate(config: PgConfig) -> list[str]:
    """Apply what is pending; the revisions that were."""
    report = await migrations.migrate(config, environment="primary", store="postgres")
    return report.applied


async def step(config: PgConfig, revision: str) -> None:
    """Apply one revision, whose predecessors are."""
    wanted = migrations.revisions("primary")[: ALL.index(revision) + 1]

    async def apply(found: migrations.Revision) -> None:
        await run(
            config, store="postgres", environment="primary", revision=found, direction="upgrade"
        )

    report = await migrations.apply_pending(
        config, wanted, apply, environment="primary", store="postgres", dry_run=False
    )
    assert report.applied == [revision]


async def test_a_second_run_does_nothing(config: PgConfig) -> None:
    store = PostgresStore(config)
    first = await store.migrate()
    assert (first.applied, first.pending, first.current) == (ALL, [], ALL[-1])
    before = await catalog(config)
    second = await store.migrate()
    assert (second.applied, second.pending, second.current) == ([], [], ALL[-1])
    assert await catalog(config) == before


async def test_a_dry_run_only_reports(config: PgConfig) -> None:
    report = await PostgresStore(config).migrate(dry_run=True)
    assert (report.applied, report.pending, report.current) == ([], ALL, None)
    assert await ask(config, "SELECT to_regclass('public.schema_revisions')") == ["None"]


async def test_runners_at_once_apply_each_revision_once(config: PgConfig) -> None:
    applied = await asyncio.gather(*(migrate(config) for _ in range(3)))
    assert sorted(applied, key=len) == [[], [], ALL]


async def test_two_databases_at_once_do_not_mix(
    make_database: MakeDatabase, config: PgConfig
) -> None:
    other = await make_database("migrations")
    applied = await asyncio.gather(migrate(config), migrate(other))
    assert list(applied) == [ALL, ALL]
    assert schema_of(await catalog(config)) == schema_of(await catalog(other))


async def test_up_down_up_leaves_the_same_catalog(config: PgConfig) -> None:
    empty = await catalog(config)
    await migrate(config)
    full = await catalog(config)
    undone = await migrations.downgrade(config, environment="primary", store="postgres", to=None)
    assert undone == ALL[::-1]
    # left over: the ledger itself, and the database's default rights in writing
    left = [fact for fact in await catalog(config) if "schema_revisions" not in fact]
    assert schema_of(left) == schema_of(empty)
    await migrate(config)
    assert await catalog(config) == full


async def test_each_revision_can_be_undone_and_done_again(config: PgConfig) -> None:
    # one database for all of them: each is undone with what came after it, and done again alone
    await migrate(config)
    full = await catalog(config)
    after: dict[str, list[str]] = {}
    for revision in reversed(ALL):
        before = ALL.index(revision)
        to = ALL[before - 1] if before else None
        await migrations.downgrade(config, environment="primary", store="postgres", to=to)
        after[revision] = await catalog(config)
    for revision in ALL:
        assert schema_of(await catalog(config)) == schema_of(after[revision])
        await step(config, revision)
    assert await catalog(config) == full


async def test_an_unknown_revision_cannot_be_gone_back_to(config: PgConfig) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        await migrations.downgrade(config, environment="primary", store="postgres", to="nonsense")


async def test_a_failing_revision_leaves_nothing_behind(config: PgConfig, versions: Path) -> None:
    add(
        versions,
        "9998_bad",
        after=ALL[-1],
        body='op.execute("CREATE TABLE core.half (x int)"); op.execute("SELECT nonsense")',
    )
    with pytest.raises(PolystoreError, match=r"9998_bad.*nonsense"):
        await migrate(config)
    report = await migrations.migrate(config, environment="primary", store="postgres", dry_run=True)
    assert (report.current, report.pending) == (ALL[-1], ["9998_bad"])
    assert await ask(config, "SELECT to_regclass('core.half')") == ["None"]


async def test_a_revision_may_run_outside_a_transaction(config: PgConfig, versions: Path) -> None:
    add(
        versions,
        "9999_alone",
        after=ALL[-1],
        head="transactional = False\n",
        body='op.execute("CREATE INDEX CONCURRENTLY extra ON auth.users (status)")',
    )
    assert (await migrate(config))[-1] == "9999_alone"
    assert await ask(config, "SELECT to_regclass('auth.extra')") == ["auth.extra"]


async def test_an_edited_file_is_reported(config: PgConfig, versions: Path) -> None:
    await migrate(config)
    edited = versions / "0002_auth.py"
    edited.write_text(edited.read_text() + "# edited\n")
    report = await PostgresStore(config).migrate()
    assert report.applied == []
    assert report.problems == ["0002_auth: 0002_auth.py has changed since it was applied"]


async def test_a_missing_folder_is_an_error_and_not_nothing(config: PgConfig) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        await migrations.migrate(config, environment="nowhere", store="postgres")


async def test_the_seeded_ids_are_those_of_the_code(config: PgConfig) -> None:
    await migrate(config)
    connection = await asyncpg.connect(**config.connect_arguments())
    await connection.execute(
        "SELECT set_config('app.current_tenant', $1, false)", str(SYSTEM_TENANT)
    )
    row = await connection.fetchrow(
        "SELECT t.identifier, u.id, u.username, u.email, u.password_hash"
        " FROM core.tenants t JOIN auth.users u ON u.tenant_id = t.id"
    )
    await connection.close()
    assert row is not None
    assert tuple(row.values()) == ("system", SYSTEM_USER, "system", "system@localhost", "!")


async def test_health_without_a_schema_says_what_to_do(config: PgConfig) -> None:
    store = PostgresStore(config)
    await store.connect()
    health = await store.health()
    await store.close()
    assert health.status == "degraded"
    assert "db migrate" in health.detail


async def test_health_of_an_unreachable_server_is_an_answer(config: PgConfig) -> None:
    store = PostgresStore(config.model_copy(update={"port": 1}))
    health = await store.health()
    assert health.status == "unhealthy"
    assert health.detail
    with pytest.raises(UnavailableError):
        await store.connect()


async def test_a_role_that_isolation_does_not_bind_is_refused(config: PgConfig) -> None:
    as_owner = config.model_copy(update={"user": config.owner, "password": config.owner_password})
    store = PostgresStore(as_owner)
    with pytest.raises(ConfigError, match="neo_app"):
        await store.connect()
    health = await store.health()
    assert (health.status, "neo_app" in health.detail) == ("unhealthy", True)
    with pytest.raises(UnavailableError, match="not connected"):
        await store.port("networks").count(Query())
