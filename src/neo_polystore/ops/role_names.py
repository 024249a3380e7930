"""What the settings call the roles and databases of a server, and their passwords."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from neo_polystore.pgkit.roles import APPLICATION, OWNER, RELAY, REQUIRED, RETENTION, ROLES, Role
from neo_polystore.settings import Settings


def wanted_roles(settings: Settings) -> tuple[Role, ...]:
    """The roles of every server, and those that the settings call by other names.

    Another name for the application, the owner or the relay is a member of that role: what is
    granted to it, and the policies that name it, then hold for the member too.
    """
    groups = {
        settings.postgres_owner: OWNER,
        settings.postgres_user: APPLICATION,
        settings.postgres_relay: RELAY,
        settings.postgres_retention: RETENTION,
    }
    known = {role.name for role in ROLES}
    others = [Role(role, member_of=group) for role, group in groups.items() if role not in known]
    return (*ROLES, *others)


def given_passwords(
    settings: Settings, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Passwords by role: NEO_ROLE_PASSWORD_<ROLE>, else what the settings log in with."""
    settled = {
        settings.postgres_user: settings.postgres_password,
        settings.postgres_owner: settings.postgres_owner_password,
        settings.postgres_relay: settings.postgres_relay_password,
        settings.postgres_retention: settings.postgres_retention_password,
    }
    found = {role: secret.get_secret_value() for role, secret in settled.items()}
    for role in wanted_roles(settings):
        if password := environment.get(password_variable(role.name)):
            found[role.name] = password
    return {role: password for role, password in found.items() if password}


def password_variable(role: str) -> str:
    """The environment variable with a role's password."""
    return "NEO_ROLE_PASSWORD_" + re.sub(r"\W", "_", role).upper()


def database_names(settings: Settings) -> list[str]:
    """The databases on the server of POSTGRES_HOST."""
    names = [settings.postgres_db, settings.event_store_db]
    return names if settings.timescale_host else [*names, settings.timescale_db]


def required_roles(settings: Settings) -> set[str]:
    """Those without which nothing works."""
    return {*REQUIRED, settings.postgres_user, settings.postgres_owner, settings.postgres_relay}
