"""Settings: where they come from, what is refused, what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

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
