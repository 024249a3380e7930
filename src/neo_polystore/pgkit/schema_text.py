"""A database's schema as text, one file per schema, so that a review sees a change of schema.

The text is what `pg_dump --schema-only` writes, without what differs between two servers that were
migrated alike: versions, extensions, and the partitions that are made as time goes by.
"""

from __future__ import annotations

import asyncio
import re
from itertools import zip_longest
from pathlib import Path

from neo_polystore.errors import PolystoreError, UnavailableError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.programs import as_owner, environment

LEFT_OUT = ("blockchain.transactions_2*", "outbox.messages_0*")
"""Partitions by year and by number: maintenance functions make them, not revisions."""

DATABASE = "database"
"""The file of what belongs to no schema."""

_PART = re.compile(
    r"^--\n-- Name: (?P<name>.+); Type: (?P<type>.+); Schema: (?P<schema>.+); Owner: .*\n--\n\n"
    r"(?P<body>(?:(?!^--\n).*\n)*)",
    re.MULTILINE,
)
# What a server notes for itself on every column (seen with 15.20); two never agree on the numbers.
# The pg_dump of that release leaves it out, older ones do not.
_NOTED = re.compile(
    r"^ALTER TABLE ONLY \S+ ALTER COLUMN \S+ SET \(pg_attver=\d+\);\n", re.MULTILINE
)
# From 18 on a NOT NULL has a name, and from 16 on a view of one relation says its columns only.
_NAMED_NOT_NULL = re.compile(r"CONSTRAINT \w+ (?=NOT NULL\b)")
_VIEW = re.compile(r"^CREATE VIEW .*?;$", re.MULTILINE | re.DOTALL)
_QUALIFIER = re.compile(r"(?<!VIEW )(?<!FROM )(?<!FROM \()(?<!JOIN )\b[a-z_]\w*\.(?=[a-z_])")
_OF_A_SCHEMA = re.compile(r"(?:SCHEMA )?(?P<schema>\w+)")


async def dump(config: PgConfig, *, pg_dump: Path) -> dict[str, str]:
    """The schema of a database by file name (without `.sql`), read by its owner.

    Raises UnavailableError where the program cannot run or cannot connect.
    """
    arguments = ["--schema-only", "--no-owner", "--no-password"]
    arguments += [f"--exclude-table={pattern}" for pattern in LEFT_OUT]
    try:
        process = await asyncio.create_subprocess_exec(
            pg_dump,
            *arguments,
            env=environment(as_owner(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise UnavailableError(f"{pg_dump} cannot be run: {error.strerror}") from error
    out, complaint = await process.communicate()
    if process.returncode:
        raise UnavailableError(f"pg_dump failed: {complaint.decode(errors='replace').strip()}")
    return split(out.decode())


def split(text: str) -> dict[str, str]:
    """Sort the parts of a dump by the schema that they belong to, in the dump's own order.

    Raises PolystoreError where the text is no dump that this understands: nothing is passed over.
    """
    files: dict[str, list[str]] = {}
    parts = 0
    for part in _PART.finditer(text):
        parts += 1
        name, kind, schema = part["name"], part["type"], part["schema"]
        if kind == "EXTENSION" or (kind == "COMMENT" and name.startswith("EXTENSION ")):
            continue
        if schema == "-" and (kind == "SCHEMA" or name.startswith("SCHEMA ")):
            match = _OF_A_SCHEMA.fullmatch(name)
            schema = match["schema"] if match else schema
        files.setdefault(DATABASE if schema == "-" else schema, []).append(
            re.sub(r"\n{3,}", "\n\n", _without_settings(part["body"]).strip("\n"))
        )
    if not parts or parts != len(re.findall(r"^-- Name: ", text, re.MULTILINE)):
        raise PolystoreError("pg_dump's output is not laid out as expected")
    return {
        file: "\n\n".join(text for text in texts if text) + "\n"
        for file, texts in sorted(files.items())
    }


def _without_settings(body: str) -> str:
    return "".join(
        line
        for line in _NOTED.sub("", body).splitlines(keepends=True)
        if not line.startswith((r"\unrestrict ", "SET default_table"))
    )


def read(folder: Path) -> dict[str, str]:
    """The files of a folder, as `dump` answers them."""
    return {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.sql"))}


def write(folder: Path, files: dict[str, str]) -> None:
    """Make the folder hold exactly these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.sql"):
        if path.stem not in files:
            path.unlink()
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text, "utf-8")


def in_any_version(files: dict[str, str]) -> dict[str, str]:
    """The same without what servers of 15 to 18 write differently for one and the same schema.

    What is lost is the name of a NOT NULL, and from which relation a view has a column.
    """
    return {
        name: _VIEW.sub(lambda view: _QUALIFIER.sub("", view[0]), _NAMED_NOT_NULL.sub("", text))
        for name, text in files.items()
    }


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """One line per file that is missing, not expected, or different; nothing where all agree."""
    lines = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            lines.append(f"{name}: the database has nothing of it")
        elif name not in expected:
            lines.append(f"{name}: only the database has it")
        elif expected[name] != found[name]:
            pairs = zip_longest(expected[name].split("\n"), found[name].split("\n"))
            number, wanted, there = next(
                (number, *pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1]
            )
            lines.append(
                f"{name}: differs from line {number}:"
                f" {(there or '').strip()!r} in place of {(wanted or '').strip()!r}"
            )
    return lines
