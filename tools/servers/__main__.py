"""Runs each engine's conformance suites against its server, and prints what came of it.

NEO_TEST_CONTAINERS=1 takes the servers of docker-compose.yml as containers instead of those of this
machine. `--report` names the junit report of a whole run of the tests: what the tests start by
themselves is counted from there, and not run again. Exit code 1 where a test failed that no known
deviation of the server explains.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.servers import containers, local
from tools.servers.running import NoServerError, Running

ROOT = Path(__file__).parents[2]
CONFORMANCE = "tests/conformance"
_FOLDERS = "this server keeps objects as files: no object can be where others' folder is"
Start = Callable[[], AbstractContextManager[Running]]


@dataclass(frozen=True)
class Engine:
    """What runs against which server; `chosen` is pytest's -k, `deviations` are by test.

    What takes many minutes is `asked_for`: it runs only where it is named.
    """

    name: str
    start: Start
    suites: tuple[str, ...]
    chosen: str = ""
    contained: Start | None = None
    deviations: Mapping[str, str] = field(default_factory=dict)
    asked_for: bool = False


def _suites(*names: str) -> tuple[str, ...]:
    return tuple(f"{CONFORMANCE}/test_{name}.py" for name in names)


RELATIONAL = ("accounts", "networks", "wallets", "transactions", "contracts", "sealed", "events")
ENGINES = (
    Engine("postgres", local.postgres, _suites(*RELATIONAL), contained=containers.postgres),
    Engine(
        "postgres in depth",
        local.postgres_programs,
        ("tests/stores/postgres", "tests/stores/event_store"),
        asked_for=True,
    ),
    Engine("embedded postgres", local.built_in, _suites(*RELATIONAL)),
    Engine(
        "timescale",
        lambda: local.given("NEO_TEST_TIMESCALE_URL"),
        (*_suites("metrics", "metrics_rollups"), "tests/stores/timescale/test_backup.py"),
        "timescale",
        lambda: containers.postgres("timescaledb", "NEO_TEST_TIMESCALE_URL"),
    ),
    Engine("plain metrics", local.built_in, _suites("metrics", "metrics_rollups"), "plain"),
    Engine("redis", local.redis, _suites("cache", "limits"), contained=containers.redis),
    Engine("embedded redis", local.built_in, _suites("cache", "limits")),
    Engine(
        "mongo",
        local.built_in,
        (*_suites("documents"), "tests/stores/mongo/test_backup.py"),
        "mongo",
        containers.mongo,
    ),
    Engine("jsonb", local.built_in, _suites("documents"), "jsonb"),
    Engine(
        "s3",
        local.s3,
        (*_suites("objects"), "tests/backup/test_faults.py"),
        "s3",
        containers.s3,
        {
            "test_every_legal_name_survives_beside_the_others": _FOLDERS,
            "test_pages_by_key_are_in_order_and_complete": _FOLDERS,
        },
    ),
    Engine("files", local.built_in, _suites("objects"), "files"),
    Engine("clickhouse", local.built_in, _suites("analytics"), "", containers.clickhouse),
    Engine(
        "elasticsearch", local.built_in, _suites("logs"), "elasticsearch", containers.elasticsearch
    ),
    Engine("tantivy", local.built_in, _suites("logs"), "tantivy"),
    Engine(
        "pgbouncer",
        lambda: local.installed("pgbouncer", hint="`apt-get install pgbouncer`, as root"),
        ("tests/stores/postgres", "tests/deploy/test_postgres.py"),
        "pooler or pooled or pgbouncer",
    ),
)


@dataclass
class Result:
    """A row of the table."""

    engine: str
    version: str = ""
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: int = 0
    remarks: list[str] = field(default_factory=list)


def tried(engine: Engine, report: Path | None = None) -> Result:
    """Start the server, run the suites, stop it; or count what a report has of it."""
    in_containers = os.environ.get("NEO_TEST_CONTAINERS") == "1" and engine.contained is not None
    start = engine.contained if in_containers and engine.contained is not None else engine.start
    try:
        with start() as server:
            if report is not None and server.is_of_the_tests:
                return _counted(engine, server.version, _cases(report, engine))
            return _tested(engine, server)
    except NoServerError as error:
        return Result(engine.name, remarks=[str(error)])


def _tested(engine: Engine, server: Running) -> Result:
    with tempfile.TemporaryDirectory(prefix="neo-servers-") as home:
        report = Path(home) / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-m", "not long", f"--junitxml={report}"]
        chosen = ["-k", engine.chosen] if engine.chosen else []
        done = subprocess.run(  # noqa: S603
            [*words, *chosen, *engine.suites],
            cwd=ROOT,
            env={**os.environ, **server.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            return Result(engine.name, server.version, failed=["pytest"], remarks=last)
        return _counted(engine, server.version, _cases(report))


def _cases(report: Path, engine: Engine | None = None) -> list[ElementTree.Element]:
    """The cases of a report; of a whole run those of an engine's suites that it chooses."""
    found = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - pytest's own
    if engine is None:
        return found
    modules = tuple(suite.removesuffix(".py").replace("/", ".") for suite in engine.suites)
    chosen = engine.chosen.split(" or ")
    return [
        case
        for case in found
        if f"{case.get('classname')}.".startswith(tuple(f"{module}." for module in modules))
        and any(word in f"{case.get('classname')}.{case.get('name')}" for word in chosen)
    ]


def _counted(engine: Engine, version: str, cases: list[ElementTree.Element]) -> Result:
    result = Result(engine.name, version)
    reasons: set[str] = set()
    for case in cases:
        name = case.get("name", "?")
        if case.find("failure") is not None or case.find("error") is not None:
            known = engine.deviations.get(name.partition("[")[0])
            if known is None:
                result.failed.append(name)
            else:
                reasons.add(f"deviates: {known}")
        elif (skip := case.find("skipped")) is not None:
            result.skipped += 1
            reasons.add(skip.get("message", "?"))
        else:
            result.passed += 1
    result.remarks = sorted(reasons)
    if not result.passed and not result.failed:
        result.failed.append("no test ran")
    return result


def _table(results: list[Result]) -> Table:
    table = Table(title="Engines", title_justify="left")
    for heading in ("engine", "server", "passed", "failed", "skipped", "why"):
        table.add_column(heading, overflow="fold")
    for row in results:
        why = "; ".join([*row.failed[:3], *row.remarks])
        counts = (str(row.passed), str(len(row.failed)), str(row.skipped))
        table.add_row(row.engine, escape(row.version) or "-", *counts, escape(why[:300]))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.servers", description=__doc__)
    names = [engine.name for engine in ENGINES]
    parser.add_argument("engine", nargs="*", choices=[*names, []], help="only these")
    parser.add_argument("--report", type=Path, help="junit report of a whole run of the tests")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    arguments = parser.parse_args()
    wanted = arguments.engine or [engine.name for engine in ENGINES if not engine.asked_for]
    results = [tried(engine, arguments.report) for engine in ENGINES if engine.name in wanted]
    if arguments.json:
        sys.stdout.write(orjson.dumps(results).decode() + "\n")
    else:
        Console(highlight=False).print(_table(results))
    return 1 if any(row.failed for row in results) else 0


if __name__ == "__main__":
    sys.exit(main())
