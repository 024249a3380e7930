"""Roles: who may serve, what a server lacks, and passwords that never travel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from neo_polystore.build import open_polystore
from neo_polystore.embedded import Membership
from neo_polystore.errors import ConfigError, UnavailableError, UnsafeRoleError
from neo_polystore.ops.role_names import given_passwords, password_variable, wanted_roles
from neo_polystore.ops.roles import (
    check_roles,
    create_roles,
)
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.role_setup import lacking
from neo_polystore.pgkit.roles import ROLES, Role
from neo_polystore.pgkit.scram import prepared, verifier
from neo_polystore.settings import Settings
from neo_polystore.stores.event_store.store import EventStore
from neo_polystore.stores.jsonb.store import JsonbStore
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.conftest import MakeDatabase

ENGINES: tuple[Any, ...] = (PostgresStore, EventStore, TimescaleStore, JsonbStore)


class Admin:
    """The server's administrator, and the roles that a test made."""

    def __init__(self, url: str, connection: Any):
        self.url = url
        self.connection = connection
        self.made: list[str] = []

    async def role(self, attributes: str = "", *, groups: tuple[str, ...] = ()) -> tuple[str, str]:
        """A new role and its password."""
        name, password = f"r_{uuid4().hex[:12]}", uuid4().hex
        self.made.append(name)
        await self.connection.execute(
            f"CREATE ROLE {name} LOGIN {attributes} PASSWORD '{password}'"
        )
        for group in groups:
            await self.connection.execute(f"GRANT {group} TO {name}")
        return name, password


@pytest.fixture
async def admin(embedded: Membership) -> AsyncIterator[Admin]:
    """The embedded server as a server that somebody administers."""
    server = await embedded.ensure("postgres")
    url = f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}/postgres"
    connection: Any = await asyncpg.connect(url)
    found = Admin(url, connection)
    yield found
    for name in reversed(found.made):
        await connection.execute(
            f"DO $$ BEGIN IF to_regrole('{name}') IS NOT NULL THEN"
            f" EXECUTE 'DROP OWNED BY {name}'; EXECUTE 'DROP ROLE {name}'; END IF; END $$"
        )
    await connection.close()


@pytest.fixture
async def config(make_migrated: MakeDatabase) -> PgConfig:
    """A migrated database."""
    return await make_migrated("roles")


def server_settings(config: PgConfig, **changes: Any) -> Settings:
    """The server profile with the addresses of a database."""
    values = {
        "neo_profile": "server",
        "postgres_host": config.host,
        "postgres_port": config.port,
        "postgres_db": config.database,
        "postgres_user": config.user,
        "postgres_password": config.password,
        "postgres_owner_password": config.owner_password,
        "postgres_relay_password": config.relay_password,
        "neo_cache": False,
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


def as_role(config: PgConfig, role: tuple[str, str]) -> PgConfig:
    """The same database as another role."""
    return config.model_copy(update={"user": role[0], "password": SecretStr(role[1])})


UNSAFE = {
    "superuser": ("SUPERUSER", (), "is a superuser"),
    "bypasses": ("BYPASSRLS", ("neo_app",), "has BYPASSRLS"),
    "member of the owner": ("", ("neo_owner",), "is a member of 'neo_owner'"),
    "member of a role with BYPASSRLS": ("", ("neo_backup",), "is a member of 'neo_backup'"),
}


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("name", UNSAFE)
async def test_no_engine_serves_as_a_role_that_policies_do_not_bind(
    admin: Admin, config: PgConfig, engine: Any, name: str
) -> None:
    attributes, groups, reason = UNSAFE[name]
    role = await admin.role(attributes, groups=groups)
    store = engine(as_role(config, role))
    with pytest.raises(UnsafeRoleError) as caught:
        await store.connect()
    assert reason in caught.value.message
    assert "neo_app" in caught.value.message
    assert "GRANT neo_app TO" in caught.value.message
    assert role[1] not in str(caught.value)
    health = await store.health()
    assert (health.status, reason in health.detail) == ("unhealthy", True)
    await store.close()


async def test_no_engine_serves_as_the_owner(config: PgConfig) -> None:
    assert config.owner
    owner = (config.owner, config.owner_password.get_secret_value())
    for engine in ENGINES:
        with pytest.raises(UnsafeRoleError, match="owns the database"):
            await engine(as_role(config, owner)).connect()


async def test_who_owns_only_the_tables_is_an_owner_too(
    admin: Admin, make_database: MakeDatabase
) -> None:
    config = await make_database("tables")
    role = await admin.role(groups=("neo_app",))
    connection = await asyncpg.connect(admin.url, database=config.database)
    await connection.execute(f"CREATE TABLE t (x int); ALTER TABLE t OWNER TO {role[0]}")
    await connection.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    try:
        with pytest.raises(UnsafeRoleError, match="its tables"):
            await PostgresStore(as_role(config, role)).connect()
    finally:
        await connection.execute("DROP TABLE t")
        await connection.close()


async def test_a_member_of_the_application_may_serve(admin: Admin, config: PgConfig) -> None:
    store = PostgresStore(as_role(config, await admin.role(groups=("neo_app",))))
    await store.connect()
    assert (await store.health()).status == "healthy"
    await store.close()


@pytest.mark.parametrize("tolerant", [False, True])
async def test_the_server_profile_refuses_to_open_as_a_superuser(
    admin: Admin, config: PgConfig, tolerant: bool
) -> None:
    role, password = await admin.role("SUPERUSER")
    settings = server_settings(config, postgres_user=role, postgres_password=SecretStr(password))
    with pytest.raises(UnsafeRoleError, match="is a superuser"):
        async with open_polystore(settings, data_types={"sealed"}, tolerant=tolerant):
            pass


async def test_the_server_profile_opens_as_the_application(config: PgConfig) -> None:
    settings = server_settings(config)
    async with open_polystore(settings, data_types={"sealed"}) as polystore:
        assert (await polystore.stores["postgres"].health()).status == "healthy"


async def test_a_wrong_password_is_tolerated_where_an_unsafe_role_is_not(config: PgConfig) -> None:
    settings = server_settings(config, postgres_password=SecretStr("wrong"))
    async with open_polystore(settings, data_types={"sealed"}, tolerant=True) as polystore:
        assert (await polystore.stores["postgres"].health()).status == "unhealthy"


def test_the_verifier_is_the_one_of_the_rfc() -> None:
    # RFC 7677, section 3: user "user", password "pencil"
    import base64
    import hashlib
    import hmac

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    text = verifier("pencil", salt=salt, iterations=4096)
    head, keys = text.split("$", 1)[0], text.rsplit("$", 1)[1]
    server_key = base64.b64decode(keys.split(":")[1])
    message = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,"
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.digest(server_key, message.encode(), hashlib.sha256)
    assert head == "SCRAM-SHA-256"
    assert base64.b64encode(signature).decode() == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize(
    ("password", "sent"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
    ],
)
def test_passwords_are_prepared_as_the_rfc_says(password: str, sent: str) -> None:
    # RFC 4013, section 3; what it prohibits is sent as it is, as PostgreSQL does
    assert prepared(password) == sent


@pytest.mark.parametrize("password", ["plain", "it's; DROP ROLE x --", "pässwörd ½ \u00ad x"])
async def test_a_role_logs_in_with_the_password_whose_verifier_was_sent(
    admin: Admin, config: PgConfig, password: str
) -> None:
    name = f"r_{uuid4().hex[:12]}"
    admin.made.append(name)
    for step in await lacking(admin.connection, [Role(name)], {name: password}):
        assert password not in step.sql
        assert password not in step.shown
        await admin.connection.execute(step.sql)
    stored = await admin.connection.fetchval(
        "SELECT rolpassword FROM pg_authid WHERE rolname = $1", name
    )
    assert stored.startswith("SCRAM-SHA-256$4096:")
    connection = await asyncpg.connect(
        host=config.host, port=config.port, user=name, password=password, database="postgres"
    )
    await connection.close()


async def test_what_was_made_lacks_nothing(admin: Admin) -> None:
    assert await lacking(admin.connection, ROLES) == []


async def test_a_role_with_too_much_loses_it_and_one_with_too_little_gains(admin: Admin) -> None:
    name, _ = await admin.role("CREATEROLE BYPASSRLS")
    await admin.connection.execute(f"ALTER ROLE {name} NOLOGIN")
    wanted = Role(name, replicates=True, member_of="neo_readonly")
    shown = {step.shown for step in await lacking(admin.connection, [wanted])}
    assert shown == {
        f"ALTER ROLE {name} NOCREATEROLE",
        f"ALTER ROLE {name} NOBYPASSRLS",
        f"ALTER ROLE {name} REPLICATION",
        f"ALTER ROLE {name} LOGIN",
        f"GRANT neo_readonly TO {name}",
    }


async def test_roles_under_the_names_of_the_settings_are_members(config: PgConfig) -> None:
    settings = server_settings(config, postgres_user="shop_app", postgres_owner="shop_owner")
    found = {role.name: role.member_of for role in wanted_roles(settings)}
    assert (found["shop_app"], found["shop_owner"]) == ("neo_app", "neo_owner")


def test_passwords_come_from_the_environment_by_role() -> None:
    settings = Settings(_env_file=None, postgres_user="shop-app", postgres_password="set")  # type: ignore[call-arg, arg-type]
    assert password_variable("shop-app") == "NEO_ROLE_PASSWORD_SHOP_APP"
    assert given_passwords(settings, {})["shop-app"] == "set"
    given = {"NEO_ROLE_PASSWORD_SHOP_APP": "mine", "NEO_ROLE_PASSWORD_NEO_BACKUP": "b"}
    found = given_passwords(settings, given)
    assert (found["shop-app"], found["neo_backup"]) == ("mine", "b")


async def test_creating_makes_what_lacks_and_checking_agrees(
    admin: Admin, config: PgConfig
) -> None:
    names = {"postgres_user": f"r_{uuid4().hex[:12]}", "postgres_owner": f"r_{uuid4().hex[:12]}"}
    admin.made += names.values()
    databases = {"event_store_db": f"d_{uuid4().hex[:12]}", "timescale_db": f"d_{uuid4().hex[:12]}"}
    settings = server_settings(config, **names, **databases, postgres_db=f"d_{uuid4().hex[:12]}")
    before = await check_roles(settings, admin.connection)
    assert not before.ok
    dry = await create_roles(settings, admin.url, databases=True, dry_run=True)
    assert dry.done == []
    assert f"CREATE ROLE {names['postgres_user']} LOGIN PASSWORD '...'" in dry.lacking
    report = await create_roles(settings, admin.url, databases=True)
    try:
        assert report.ok, report.lacking
        assert f"GRANT neo_app TO {names['postgres_user']}" in report.done
        assert "SCRAM" not in str(report)
        after = await check_roles(settings, admin.connection)
        assert after.ok, after.lacking
        again = await create_roles(settings, admin.url, databases=True)
        assert all("PASSWORD" in statement for statement in again.done)
        store = PostgresStore(
            config.model_copy(
                update={
                    "database": settings.postgres_db,
                    "user": names["postgres_user"],
                    "owner": names["postgres_owner"],
                }
            )
        )
        assert (await store.migrate()).applied
        await store.connect()
        assert (await store.health()).status == "healthy"
        assert (await store.validate()).problems == []
        await store.close()
    finally:
        for database in (settings.postgres_db, *databases.values()):
            await admin.connection.execute(f"DROP DATABASE IF EXISTS {database}")


async def test_what_an_administrator_may_not_do_is_named_for_one_who_may(
    admin: Admin, config: PgConfig
) -> None:
    deputy, password = await admin.role("CREATEROLE")
    settings = server_settings(config, postgres_relay=f"r_{uuid4().hex[:12]}")
    admin.made.append(settings.postgres_relay)
    url = admin.url.replace(admin.url.split("@")[0], f"postgresql://{deputy}:{password}")
    report = await create_roles(settings, url)
    # it may make a role and give it a password, but (from PostgreSQL 16 on) not a membership that
    # it has not itself
    bound = admin.connection.get_server_version().major >= 16
    grant = f"GRANT neo_relay TO {settings.postgres_relay}"
    assert (grant in report.lacking, grant in report.done) == (bound, not bound)
    assert any(done.startswith(f"CREATE ROLE {settings.postgres_relay}") for done in report.done)
    assert report.ok is not bound


async def test_a_role_that_serves_and_belongs_to_the_owner_is_found(
    admin: Admin, config: PgConfig
) -> None:
    role, _ = await admin.role(groups=("neo_app", "neo_owner"))
    settings = server_settings(config, postgres_user=role)
    report = await check_roles(settings, admin.connection)
    assert f"REVOKE neo_owner FROM {role}" in report.lacking


@pytest.mark.parametrize("url", ["nonsense", "mysql://root@host/db"])
async def test_an_address_that_is_none_is_refused(config: PgConfig, url: str) -> None:
    with pytest.raises(ConfigError, match="NEO_ADMIN_URL"):
        await create_roles(server_settings(config), url)


async def test_an_administrator_who_cannot_be_reached_is_unavailable(config: PgConfig) -> None:
    url = "postgresql://admin:hunter2-secret@127.0.0.1:1/postgres"
    with pytest.raises(UnavailableError) as caught:
        await create_roles(server_settings(config), url)
    assert "hunter2-secret" not in str(caught.value)


async def test_two_runs_at_once_make_each_role_once(admin: Admin, config: PgConfig) -> None:
    settings = server_settings(config, postgres_user=f"r_{uuid4().hex[:12]}")
    admin.made.append(settings.postgres_user)
    await asyncio.gather(*(create_roles(settings, admin.url) for _ in range(3)))
    assert (await check_roles(settings, admin.connection)).roles[settings.postgres_user] == "ok"
