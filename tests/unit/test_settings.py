"""Settings: where they come from, what is refused, what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from neo_polystore.addresses import ServerAddresses
from neo_polystore.errors import ConfigError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.settings import Settings


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a `.env`."""
    monkeypatch.chdir(tmp_path)


def test_the_environment_is_read_under_the_specified_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.example.org")
    monkeypatch.setenv("DB_MAX_POOL_SIZE", "7")
    settings = Settings.load()
    assert (settings.postgres_host, settings.db_max_pool_size) == ("db.example.org", 7)


def test_a_dotenv_file_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("REDIS_HOST=from-file\nPOSTGRES_DB=from-file\n")
    monkeypatch.setenv("REDIS_HOST", "from-environment")
    settings = Settings.load()
    assert (settings.redis_host, settings.postgres_db) == ("from-environment", "from-file")


def test_each_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "70000")
    monkeypatch.setenv("NEO_PROFILE", "laptop")
    with pytest.raises(ConfigError, match=r"NEO_PROFILE.*POSTGRES_PORT"):
        Settings.load()


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "S3_SECRET_ACCESS_KEY", "MONGO_URL"):
        monkeypatch.setenv(name, "hunter2-secret")
    settings = Settings.load()
    assert "hunter2-secret" not in f"{settings!r} {settings} {settings.redacted()}"
    assert settings.redacted()["POSTGRES_PASSWORD"] == "********"


def test_only_the_embedded_profile_has_a_tenant_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().scope().tenant == SYSTEM_TENANT
    monkeypatch.setenv("NEO_PROFILE", "server")
    assert Settings.load().scope().tenant is None


async def test_a_pooler_is_gone_around_by_all_but_the_application() -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        neo_profile="server",
        db_pooled=True,
        postgres_host="pooler",
        postgres_port=6432,
        postgres_direct_host="server",
        timescale_host="other",
        neo_plaintext_hosts="pooler,server,other",
    )
    addresses = ServerAddresses(settings)
    for engine in ("postgres", "jsonb", "event_store"):
        config = await addresses.config(engine)
        assert config.connect_arguments()["host"] == "pooler"
        assert config.connect_arguments()["statement_cache_size"] == 0
        assert config.connect_arguments(as_owner=True)["host"] == "server"
        assert config.as_relay().connect_arguments()["port"] == 5432
        assert "statement_cache_size" not in config.as_relay().connect_arguments()
    assert not (await addresses.config("timescale")).pooled


@pytest.mark.parametrize(("enabled", "retries"), [(True, 7), (False, 0)])
async def test_retries_and_rules_for_accounts_reach_the_store(enabled: bool, retries: int) -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        neo_profile="server",
        db_enable_retries=enabled,
        db_max_retry_count=7,
        db_retry_delay_ms=250,
        neo_login_attempts=9,
        neo_secrets_key=SecretStr("x"),
    )
    config = await ServerAddresses(settings).config("postgres")
    assert (config.retries, config.retry_delay) == (retries, 0.25)
    assert (config.login_attempts, config.secrets_key) == (9, SecretStr("x"))
    assert settings.redacted()["NEO_SECRETS_KEY"] == "********"
