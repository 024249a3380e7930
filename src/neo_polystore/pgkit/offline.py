"""What the revisions of an environment say in SQL, without a database."""

from __future__ import annotations

import ast
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from neo_polystore.assets import asset
from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.pgkit.migrations import LEDGER, Revision, revisions, runners_lock
from neo_polystore.pgkit.psql import ended, heading, unless
from neo_polystore.pgkit.quoting import literal


def alembic_script(environment: str, *, after: str | None = None) -> str:
    """The revisions after `after` (all of them for None) as a script for psql."""
    parts = [(revision, statements(environment, revision)) for revision in revisions(environment)]
    return script(f"migrations/{environment}", environment, parts, after=after)


def script(
    title: str, environment: str, parts: list[tuple[Revision, list[str]]], *, after: str | None
) -> str:
    """A script of revisions with their statements; each records itself, in its transaction.

    Raises UsageError where no revision is called `after`.
    """
    known = [revision.id for revision, _ in parts]
    if after is not None and after not in known:
        raise UsageError(f"{title} has no revision {after!r}; it has {', '.join(known)}")
    later = parts if after is None else parts[known.index(after) + 1 :]
    sections = [heading(title, lock=runners_lock(environment)) + ended([LEDGER])]
    for revision, found in later:
        body = [*found, _record(environment, revision)]
        if revision.transactional:
            body = ["BEGIN", *body, "COMMIT"]
        applied = (
            f"SELECT FROM public.schema_revisions WHERE environment = {literal(environment)}"
            f" AND revision = {literal(revision.id)}"
        )
        sections.append(f"-- {revision.id}: {_purpose(revision)}\n{unless(applied, body)}")
    return "\n".join(sections)


def statements(environment: str, revision: Revision) -> list[str]:
    """What `upgrade()` of one revision executes."""
    said = _Said()
    context = MigrationContext.configure(
        dialect=dialect(),  # type: ignore[no-untyped-call]
        opts={"as_sql": True, "output_buffer": said},
    )
    # a revision that asks for the schema that it makes things in gets the usual answer
    context.impl.connection = _Nobody(revision.id)  # type: ignore[assignment]
    found = ScriptDirectory(str(asset("migrations") / environment)).get_revision(revision.id)
    assert found is not None  # noqa: S101 - it was read from there
    with Operations.context(context):
        found.module.upgrade()
    return said.statements


def _record(environment: str, revision: Revision) -> str:
    values = ", ".join(map(literal, (environment, revision.id, revision.checksum)))
    return (
        f"INSERT INTO public.schema_revisions (environment, revision, checksum) VALUES ({values})"
    )


def _purpose(revision: Revision) -> str:
    text = revision.path.read_text("utf-8")
    if revision.path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return text.partition("\n")[0].removeprefix("--").strip()


class _Said:
    """The buffer that Alembic writes to, a statement at a time."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def write(self, text: str) -> None:
        self.statements.append(text.strip())

    def flush(self) -> None:
        pass


class _Nobody:
    """What a revision gets for a connection: it knows one answer only."""

    def __init__(self, revision: str):
        self._revision = revision

    def execute(self, statement: Any, *_: Any) -> Any:
        if "current_schema()" not in str(statement):
            raise UnsupportedError(f"revision {self._revision} asks the database what to do")
        return self

    def scalar_one(self) -> str:
        return "public"
