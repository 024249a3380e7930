"""The one table of what each role may do, and of what each route asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

ROLES: Final[Mapping[str, str]] = {
    "admin": "everything in his tenant; in the platform's own tenant, the platform itself",
    "operator": "reads and writes records, runs jobs, replays messages",
    "auditor": "reads records and the audit trail",
    "service": "a program: reads and writes records, sealed blobs and metrics",
    "reader": "reads records and metrics",
}

_ALL: Final = frozenset(ROLES)

PERMISSIONS: Final[Mapping[str, frozenset[str]]] = {
    "self": _ALL,
    "status:read": _ALL,
    "telemetry:read": _ALL - {"reader"},
    "records:read": _ALL,
    "records:write": frozenset({"admin", "operator", "service"}),
    "limits:check": frozenset({"admin", "operator", "service"}),
    "accounts:read": frozenset({"admin", "auditor"}),
    "accounts:write": frozenset({"admin"}),
    "keys:manage": frozenset({"admin"}),
    "sealed:read": frozenset({"admin", "service"}),
    "sealed:write": frozenset({"admin", "service"}),
    "attestation:read": _ALL,
    "attestation:write": frozenset({"admin", "operator", "service"}),
    "audit:read": frozenset({"admin", "auditor"}),
    "audit:write": frozenset({"admin", "operator", "service"}),
    "audit:import": frozenset({"admin"}),
    "platform:read": frozenset({"admin", "operator", "auditor"}),
    "platform:run": frozenset({"admin", "operator"}),
    "platform:change": frozenset({"admin"}),
}
"""Which roles have a permission. Those of the platform reach across tenants: they hold only for
principals of the platform's own tenant, or of none."""

PUBLIC: Final = "public"
"""In place of a permission: nobody is asked who he is, because this is where one says it."""

Reads = frozenset({"GET", "HEAD"})
Changes = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Rule:
    """What the requests of a route, or of all below a prefix (`/*`), ask for.

    `of` names other permissions by the value of the template's first parameter. The body of a
    route that `streams` has no bound of its own: its handler reads a part at a time.
    """

    methods: frozenset[str]
    path: str
    permission: str
    of: Mapping[str, str] = field(default_factory=dict)
    streams: bool = False

    @property
    def is_prefix(self) -> bool:
        """Whether it speaks of all below, and of the prefix itself."""
        return self.path.endswith("/*")


def _one(method: str, path: str, permission: str, **more: object) -> Rule:
    return Rule(frozenset({method}), path, permission, **more)  # type: ignore[arg-type]


_STORED: Final = "/api/store/{data_type}"
_READ_AS: Final = {
    "accounts": "accounts:read",
    "audit_logs": "audit:read",
    "sealed": "sealed:read",
}
_WRITTEN_AS: Final = {
    "accounts": "accounts:write",
    "audit_logs": "audit:import",
    "sealed": "sealed:write",
}

RULES: Final[tuple[Rule, ...]] = (
    _one("GET", "/", "status:read"),
    _one("GET", "/docs", "status:read"),
    Rule(Reads, "/docs/ui/*", "status:read"),
    _one("GET", "/openapi.json", "status:read"),
    _one("GET", "/health", "status:read"),
    _one("GET", "/health/sgx", "status:read"),
    _one("GET", "/health/{store}", "status:read"),
    _one("GET", "/ready", "status:read"),
    _one("GET", "/metrics", "telemetry:read"),
    _one("POST", "/api/auth/login", PUBLIC),
    _one("POST", "/api/auth/refresh", PUBLIC),
    _one("POST", "/api/auth/logout", "self"),
    _one("GET", "/api/auth/me", "self"),
    _one("GET", "/api/auth/keys", "keys:manage"),
    _one("POST", "/api/auth/keys", "keys:manage"),
    _one("DELETE", "/api/auth/keys/{key}", "keys:manage"),
    _one("POST", _STORED, "records:write", of=_WRITTEN_AS, streams=True),
    _one("GET", _STORED, "records:read", of=_READ_AS),
    _one("GET", _STORED + "/{key:path}", "records:read", of=_READ_AS),
    _one("PUT", _STORED + "/{key:path}", "records:write", of=_WRITTEN_AS),
    _one("DELETE", _STORED + "/{key:path}", "records:write", of=_WRITTEN_AS),
    _one("POST", "/api/limits/check", "limits:check"),
    _one("GET", "/api/metrics/query", "records:read"),
    _one("GET", "/api/metrics/series", "records:read"),
    _one("GET", "/api/metrics/points", "records:read"),
    _one("POST", "/api/v1/write", "records:write", streams=True),
    _one("POST", "/api/v2/write", "records:write", streams=True),
    _one("POST", "/api/audit", "audit:write"),
    _one("GET", "/api/audit", "audit:read"),
    _one("GET", "/api/audit/export", "audit:read"),
    _one("GET", "/api/audit/verify", "audit:read"),
    _one("GET", "/api/audit/{entry}", "audit:read"),
    _one("PUT", "/api/sealed/content", "sealed:write", streams=True),
    _one("POST", "/api/sealed/blobs", "sealed:write", streams=True),
    Rule(Reads, "/api/sealed/*", "sealed:read"),
    Rule(Changes, "/api/sealed/*", "sealed:write"),
    Rule(Reads, "/api/attest/*", "attestation:read"),
    Rule(Changes, "/api/attest/*", "attestation:write"),
    _one("GET", "/api/admin/routing", "platform:read"),
    _one("GET", "/api/admin/migration-status", "platform:read"),
    _one("POST", "/api/admin/migrate", "platform:change"),
    _one("POST", "/api/admin/seed", "platform:change"),
    _one("GET", "/api/admin/cache", "platform:read"),
    _one("POST", "/api/admin/cache/flush", "platform:run"),
    _one("GET", "/api/admin/outbox", "platform:read"),
    _one("GET", "/api/admin/outbox/dead-letters", "platform:read"),
    _one("POST", "/api/admin/outbox/replay", "platform:run"),
    _one("POST", "/api/admin/outbox/discard", "platform:change"),
    _one("GET", "/api/admin/scheduler", "platform:read"),
    _one("GET", "/api/admin/scheduler/runs", "platform:read"),
    _one("POST", "/api/admin/scheduler/jobs/{job}/run", "platform:run"),
    _one("POST", "/api/admin/scheduler/jobs/{job}/trigger", "platform:run"),
    _one("GET", "/api/admin/sealed/inventory", "platform:read"),
    Rule(Reads, "/api/admin/backups/*", "platform:read"),
    Rule(Changes, "/api/admin/backups/*", "platform:change"),
    Rule(Reads, "/api/admin/retention/*", "platform:read"),
    Rule(Changes, "/api/admin/retention/*", "platform:change"),
    Rule(Reads, "/api/admin/holds/*", "platform:read"),
    Rule(Changes, "/api/admin/holds/*", "platform:change"),
)


def is_allowed(roles: Iterable[str], permission: str) -> bool:
    """Whether one of these roles has the permission; nobody has one that is not in the table."""
    return not PERMISSIONS.get(permission, frozenset()).isdisjoint(roles)


def reaches_across_tenants(permission: str) -> bool:
    """Whether it concerns the platform as a whole, and so no single tenant's administrator."""
    return permission.startswith("platform:")
