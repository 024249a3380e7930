"""The roles of a server: who logs in as what, which are groups, who belongs to which group."""

from __future__ import annotations

from dataclasses import dataclass

OWNER, APPLICATION, RETENTION = "neo_owner", "neo_app", "neo_retention"
RELAY = "neo_relay"
READONLY, AUDITOR, BACKUP = "neo_readonly", "neo_auditor", "neo_backup"
BACKUP_USER = "backup_service"
REPLICATOR = "replicator"


@dataclass(frozen=True, slots=True)
class Role:
    """One role as a server should have it.

    What `bypasses_rls` and `replicates` say is an attribute, and members do not inherit
    attributes: a member of `neo_backup` says SET ROLE (`pg_dump --role=neo_backup`).
    """

    name: str
    login: bool = True
    bypasses_rls: bool = False
    replicates: bool = False
    member_of: str | None = None

    @property
    def attributes(self) -> dict[str, bool]:
        """The words of CREATE ROLE, and whether the role has what they say."""
        return {
            "LOGIN": self.login,
            "BYPASSRLS": self.bypasses_rls,
            "REPLICATION": self.replicates,
            "SUPERUSER": False,
            "CREATEDB": False,
            "CREATEROLE": False,
        }


SERVICES = {
    service: f"neo_{service}_user"
    for service in (
        "storage",
        "keymanagement",
        "security",
        "oracle",
        "smartcontracts",
        "crosschain",
        "notification",
        "automation",
        "voting",
        "monitoring",
        "analytics",
        "reporting",
    )
}
"""The user of each service: it sees its own schema only, see `core.grant_services()`."""

ROLES: tuple[Role, ...] = (
    Role(OWNER, member_of="pg_monitor"),
    Role(APPLICATION),
    Role(RETENTION),
    Role(RELAY),
    Role(READONLY, login=False),
    Role(AUDITOR, login=False),
    Role(BACKUP, login=False, bypasses_rls=True),
    Role(REPLICATOR, replicates=True),
    Role("monitoring_user", member_of=READONLY),
    Role("compliance_user", member_of=AUDITOR),
    Role(BACKUP_USER, member_of=BACKUP),
    # the names that the specifications give the application
    Role("neo_user", member_of=APPLICATION),
    Role("neoservice_app", member_of=APPLICATION),
    *(Role(name) for name in SERVICES.values()),
)
"""In the order in which they can be made: groups before their members.

`neo_owner` owns the databases, runs migrations and may look at the server's statistics; `neo_app`
may only use what it is granted; `neo_retention` alone may delete what is immutable for everybody
else; `neo_relay` reads the outbox of all tenants and keeps the scheduler's books. The groups read:
`neo_readonly` what is neither sealed nor a key, `neo_auditor` audit log and events, `neo_backup`
everything.
"""

REQUIRED = (OWNER, APPLICATION, RETENTION, RELAY)
"""Those without which the migrations do not run; what the others may do is granted when they come.
"""
