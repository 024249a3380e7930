"""`neo-polystore auth`: users, keys and tokens that the API then takes; what `serve` asks for."""

from __future__ import annotations

import pytest

from neo_polystore.auth.permissions import RULES
from neo_polystore.cli.serve import protected
from neo_polystore.errors import ConfigError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.settings import Settings
from tests.auth.signing import SECRET
from tests.cli.conftest import Cli


def test_a_key_is_shown_once_listed_without_and_revoked(here: Cli) -> None:
    made = here("auth", "keys", "create", "cli-key", "--role", "service", "--days", "1", "--json")
    assert made.code == 0, made.err
    token = made.json["token"]
    assert token.startswith(f"neok.{SYSTEM_TENANT.hex}.")
    listed = here("auth", "keys", "list", "--json")
    assert token.rpartition(".")[2] not in listed.out
    [found] = [key for key in listed.json["keys"] if key["name"] == "cli-key"]
    assert (found["roles"], found["revoked_at"]) == (["service"], None)
    shown = here("auth", "keys", "list")
    assert "cli-key" in shown.out
    again = here("auth", "keys", "create", "cli-key", "--role", "service")
    assert (again.code, "cli-key" in again.err) == (1, True)
    dry = here("auth", "keys", "revoke", found["id"], "--dry-run", "--json")
    assert dry.json == {"revoked": 0, "key": found["id"]}
    assert here("auth", "keys", "revoke", found["id"]).code == 0
    assert here("auth", "keys", "revoke", found["id"]).code == 1


def test_a_role_that_is_none_is_refused(here: Cli) -> None:
    made = here("auth", "keys", "create", "other", "--role", "root")
    assert (made.code, "no role root" in made.err) == (1, True)


def test_a_token_is_signed_where_there_is_a_secret(here: Cli) -> None:
    signed = here("auth", "token", "ci", "--role", "operator", "--json", JWT_SECRET_KEY=SECRET)
    assert signed.json["token"].count(".") == 2
    without = here("auth", "token", "ci", "--role", "operator")
    assert (without.code, "JWT_SECRET_KEY" in without.err) == (2, True)
    short = here("auth", "token", "ci", "--role", "operator", JWT_SECRET_KEY="short")
    assert (short.code, "32 bytes" in short.err, "short" in short.out) == (2, True, False)


def test_routes_shows_every_rule(here: Cli) -> None:
    assert len(here("auth", "routes", "--json").json) == len(RULES)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com"])  # noqa: S104
def test_serve_asks_for_authentication_off_loopback(settings: Settings, host: str) -> None:
    with pytest.raises(ConfigError, match="JWT_SECRET_KEY"):
        protected(settings, host)
    keyed = Settings.model_validate({"jwt_secret_key": SECRET, "neo_data_dir": "x"})
    assert protected(keyed, host).asks_for_tokens
    required = settings.model_copy(update={"neo_auth": "required"})
    assert protected(required, host).neo_trusted_hosts == ""
    assert protected(required, host).limits_file is not None
    assert protected(required, "127.0.0.1").limits_file is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_only_names_of_this_machine_are_answered(settings: Settings, host: str) -> None:
    found = protected(settings, host)
    assert not found.asks_for_tokens
    assert found.neo_trusted_hosts == "localhost,127.0.0.1,[::1]"
    own = settings.model_copy(update={"neo_trusted_hosts": "api.local"})
    assert protected(own, host).neo_trusted_hosts == "api.local"
