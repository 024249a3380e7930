"""The verbs about versions, for a store whose schema is one Alembic environment."""

from __future__ import annotations

import re
from typing import ClassVar

from neo_polystore.errors import UnavailableError
from neo_polystore.pgkit import clearing
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.drift import drift
from neo_polystore.pgkit.migrations import migrate, revisions
from neo_polystore.pgkit.rollback import rollback
from neo_polystore.ports.store import Cleared, MigrationReport, Script, Validation

_SCHEMA = re.compile(r"CREATE TABLE (\w+)\.\w+ ")  # one without tables may be another's home
_TABLE = re.compile(r"CREATE TABLE (\w+) \(")


class Versioned:
    """Base of such stores; `environment` is their folder in `migrations/`."""

    name: ClassVar[str]
    environment: ClassVar[str]
    config: PgConfig

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Take back the newest revision, or all after `to`; see `Store.rollback`."""
        return await rollback(
            self.config, environment=self.environment, store=self.name, to=to, dry_run=dry_run
        )

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """The revisions as a script for psql."""
        from neo_polystore.pgkit.offline import alembic_script

        return Script(cls.name, alembic_script(cls.environment, after=after))

    async def validate(self) -> Validation:
        """Every revision applied, every file as it was then, the schema as they make it."""
        report = await migrate(
            self.config, environment=self.environment, store=self.name, dry_run=True
        )
        checked = [
            f"{revision.id}: SHA-256 {revision.checksum}"
            for revision in revisions(self.environment)
            if revision.id not in report.pending
        ]
        validation = Validation.of(report, checked=checked)
        if report.pending:
            validation.unchecked.append("the live schema: not all revisions are applied")
            return validation
        try:
            differences = await drift(self.config, self.environment)
        except UnavailableError as error:
            validation.unchecked.append(f"the live schema: {error.message}")
        else:
            validation.problems.extend(f"schema {line}" for line in differences)
            validation.checked.append(
                f"the live schema, against schemas/postgres/{self.environment}"
            )
        return validation

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Empty the tables that the revisions make, and put back what they put in."""
        from neo_polystore.pgkit.offline import statements

        said = [
            statement
            for revision in revisions(self.environment)
            for statement in statements(self.environment, revision)
        ]
        return await clearing.clear(
            self.config,
            store=self.name,
            schemas={name for text in said for name in _SCHEMA.findall(text)},
            tables={name for text in said for name in _TABLE.findall(text)},
            seeds=[text for text in said if text.startswith("INSERT INTO")],
            dry_run=dry_run,
        )
