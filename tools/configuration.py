"""`python -m tools.configuration`: writes docs/configuration.md from the settings' model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from neo_polystore.settings import Settings

PAGE: Final = Path(__file__).parents[1] / "docs" / "configuration.md"

GROUPS: Final = (
    ("The platform", ("neo_profile", "neo_data_dir", "neo_embedded", "neo_routing",
                      "neo_collections", "neo_tenant", "neo_plaintext", "neo_allow_clear")),
    ("The API", ("neo_host", "neo_port", "neo_public", "neo_cors", "neo_trusted", "neo_body",
                 "neo_header")),
    ("Who calls", ("neo_auth", "jwt_", "neo_jwt", "neo_token", "neo_login", "neo_session",
                   "neo_refresh", "neo_secrets")),
    ("Logs and traces", ("neo_log", "neo_trace")),
    ("Rate limits", ("neo_limits",)),
    ("Cache", ("neo_cache", "neo_redis", "redis_")),
    ("Metrics", ("neo_metrics", "neo_ingest")),
    ("Audit", ("neo_audit",)),
    ("Retention and jobs", ("neo_retention", "neo_job", "neo_proof", "neo_archive",
                            "neo_scheduler", "neo_dead")),
    ("Backup", ("neo_backup", "postgres_backup", "neo_wal", "neo_base")),
    ("Sealing", ("sgx_", "neo_sealed", "neo_key", "neo_kms", "neo_vault", "neo_attest",
                 "neo_pccs")),
    ("PostgreSQL and TimescaleDB", ("postgres_", "event_store", "timescale_", "db_", "neo_admin")),
    ("Documents", ("mongo_",)),
    ("Objects", ("s3_",)),
    ("Analytics", ("clickhouse_",)),
    ("Logs in a search engine", ("elasticsearch_",)),
    ("Others", ("",)),
)  # fmt: skip
"""Headings, and how the settings under them begin; the longest beginning decides."""

HEAD: Final = """# Configuration

Every setting is an environment variable, or a line of `.env` in the working directory; the
environment wins. `neo-polystore settings` shows what is in force, secrets as `********`. A value
that cannot be read stops the start and is named. Secrets have no default: where one is needed and
lacks, the message says so. [.env.example](../.env.example) is a file to begin with,
`scripts/make-secrets.sh` makes the secrets.

This page is written by `python -m tools.configuration` from `settings.py`; a test compares.
"""


def page() -> str:
    """The page as the model is."""
    parts = [HEAD]
    for heading, _ in GROUPS:
        names = [name for name in Settings.model_fields if group_of(name) == heading]
        if names:
            lines = [row(name, Settings.model_fields[name]) for name in names]
            head = "| variable | values | default | meaning |\n|---|---|---|---|"
            parts.append(f"## {heading}\n\n{head}\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def group_of(name: str) -> str:
    """The heading of a setting."""
    found = [(len(start), heading) for heading, starts in GROUPS for start in starts
             if name.startswith(start)]  # fmt: skip
    return max(found)[1]


def row(name: str, field: FieldInfo) -> str:
    """The line of a setting."""
    return f"| `{name.upper()}` | {values(field)} | {default(field)} | {field.description or ''} |"


def values(field: FieldInfo) -> str:
    """What it may be, in words."""
    bounds = {}
    for item in field.metadata:
        for bound in ("ge", "gt", "le", "lt", "min_length", "max_length"):
            if getattr(item, bound, None) is not None:
                bounds[bound] = getattr(item, bound)
    kind = _kind(field.annotation)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    said = [f"{signs[bound]} {number:,}" for bound, number in bounds.items() if bound in signs]
    return " ".join([kind, ", ".join(said)]).strip()


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return _kind(next(each for each in arguments if each is not type(None)))
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _kind(arguments[0])
    if origin is dict:
        return "JSON"
    names = {int: "number", float: "number", bool: "`true`, `false`", str: "text", Path: "path",
             SecretStr: "secret"}  # fmt: skip
    return names.get(annotation, "UUID")


def default(field: FieldInfo) -> str:
    """Its default as one would write it."""
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{json.dumps(value) if isinstance(value, dict) else value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE}\n")
