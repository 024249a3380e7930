"""Every command of the documentation is run here, or its page says what it would take.

`<!-- not run: REASON -->` above a block keeps it from being run, `<!-- exits 1: REASON -->` says
how its commands end, `<!-- file: NAME -->` makes the block a file for the commands after it.
Commands of Docker and Kubernetes are never run; those of our own are read by the command line in
any case.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from neo_polystore.cli.main import app
from neo_polystore.embedded import Membership
from neo_polystore.settings import Settings
from tests.cli.conftest import command, environment
from tests.cli.test_serve import free_port, wait_for
from tests.docs.blocks import PAGES, ROOT, Command, File, steps
from tools import configuration

OUTSIDE = {"docker": "Docker", "kubectl": "Kubernetes"}
ELSEWHERE = {
    "neo-polystore drill": "tests/backup/test_drill.py",
    "neo-polystore demo": "tests/cli/test_demo.py",
    "make run": "tests/cli/test_serve.py",
    "make test": "tests/test_readme.py",
}
"""What another test runs, in a form of its own."""

OURS = [
    pytest.param(each, id=f"{page.stem}: {each.text}")
    for page in PAGES
    for each in steps(page)
    if isinstance(each, Command) and each.program == "neo-polystore"
]


@lru_cache
def tree() -> Any:
    """All commands; to make it costs a moment."""
    return typer.main.get_command(app)


@pytest.mark.parametrize("shown", OURS)
def test_the_command_line_knows_the_command_and_its_options(shown: Command) -> None:
    words = [word for word in shown.words[1:] if word != "--help"]
    found = tree()
    context = found.make_context("neo-polystore", words[:1])
    name, found, words = found.resolve_command(context, words)
    while found.__class__.__name__ == "TyperGroup":
        if words[:1] and words[0].startswith("-"):
            break  # a group with options of its own
        context = found.make_context(name, words[:1], parent=context)
        name, found, words = found.resolve_command(context, words)
    try:
        found.make_context(name, words, parent=context)
    except typer.BadParameter as error:  # a word in capitals stands for a file or an id
        if shown.not_run is None or type(error) is not typer.BadParameter:
            raise


def test_every_command_is_of_a_program_that_is_known() -> None:
    known = {"neo-polystore", "curl", "make", "", *OUTSIDE}
    strange = {
        f"{page.name}: {each.text}"
        for page in PAGES
        for each in steps(page)
        if isinstance(each, Command)
        and each.program not in known
        and not each.program.startswith("scripts/")
        and each.not_run is None
    }
    assert not strange, "language `text` is for what is no command"


def test_pages_say_what_their_commands_take() -> None:
    for page in PAGES:
        for each in steps(page):
            if isinstance(each, Command) and each.program in OUTSIDE:
                assert OUTSIDE[each.program] in page.read_text(), page.name


def test_what_is_run_elsewhere_is() -> None:
    for path in ELSEWHERE.values():
        assert (ROOT / path).exists()


def test_the_page_of_settings_is_that_of_the_model() -> None:
    assert configuration.PAGE.read_text() == configuration.page(), "python -m tools.configuration"
    lacking = [name for name, field in Settings.model_fields.items() if not field.description]
    assert not lacking


class Installation:
    """A platform of its own, files as the pages name them, and an API where a page calls one."""

    def __init__(self, folder: Path, admin: str):
        self.data = folder / "data"
        self.work = folder
        self.given = {
            "NEO_ADMIN_URL": admin,
            "JWT_SECRET_KEY": secrets.token_hex(32),
            "NEO_SECRETS_KEY": secrets.token_hex(32),
        }
        self._server: subprocess.Popen[bytes] | None = None
        self._port = 0

    def run(self, shown: Command) -> None:
        """Run it as the page has it; it must end as the page says."""
        given = {**self.given, **shown.given}
        if not shown.words:  # export
            self.given.update(_expanded(shown.given))
            return
        if shown.program == "neo-polystore":
            wanted = {**dict.fromkeys(_unset(self.data)), **environment(self.data, **given)}
            answers = "correct horse battery\n" * 2  # where one is asked for a password
            done = CliRunner().invoke(app, shown.words[1:], input=answers, env=wanted)
            said, code = done.output, done.exit_code
            if done.exception and not isinstance(done.exception, SystemExit):
                raise done.exception
        else:
            text = shown.text
            if shown.program == "curl":
                text = f"{self._calling(text)} -f"
            ended = subprocess.run(  # noqa: S602 - the documentation's own words
                text.replace("scripts/", f"{ROOT}/scripts/"),
                shell=True,
                capture_output=True,
                text=True,
                check=False,
                cwd=self.work,
            )
            said, code = ended.stdout + ended.stderr, ended.returncode
        assert code == shown.code, f"{shown.text}\n{said}"

    def close(self) -> None:
        """Stop the API."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=60)
            self._server = None

    def _calling(self, text: str) -> str:
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        if self._server is None:
            self._port = free_port()
            self._server = subprocess.Popen(
                command("serve", "--port", str(self._port), "--samples"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.work,
                env=environment(self.data),
            )
            address = f"http://127.0.0.1:{self._port}/ready"
            asking = ["curl", "-sf", address]
            wait_for(lambda: not subprocess.run(asking, capture_output=True).returncode, "serve")
        return text.replace(":8003", f":{self._port}")


def _unset(data: Path) -> list[str]:
    return [name for name in os.environ if name not in environment(data)]


def _expanded(given: dict[str, str]) -> dict[str, str]:
    """Values as a shell would have them: `$(...)` run."""
    found = {}
    for name, value in given.items():
        inner = re.fullmatch(r"\$\((.+)\)", value)
        found[name] = (
            subprocess.run(inner[1].split(), capture_output=True, text=True, check=True).stdout
            if inner
            else value
        ).strip()
    return found


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """Empty, and gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="neo-docs-"))
    folder.chmod(0o755)
    loop = asyncio.new_event_loop()
    membership = loop.run_until_complete(Membership.join(folder / "data"))
    server = loop.run_until_complete(membership.ensure("postgres"))
    admin = f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}/postgres"
    made = Installation(folder, admin)
    made.run(Command("", {}, ("neo-polystore", "db", "migrate")))
    yield made
    made.close()
    loop.run_until_complete(membership.leave())
    loop.close()
    shutil.rmtree(folder, ignore_errors=True)


def _lay_out(work: Path) -> None:
    """A folder with the files that the pages name, as it is before any command of a page."""
    data = ROOT / "tests" / "data" / "load"
    copies = {
        "transactions.csv": "transactions.csv",
        "receipts.csv": "receipts.csv",
        "points.csv": "cpu.csv",
        "app.log": "apache.log",
    }
    for name, copy in copies.items():
        (work / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / name, work / copy)
    chain = json.loads((data / "chain.json").read_text()) | {"chainId": 1}
    (work / "chains").mkdir()
    (work / "chains" / "eip155-1.json").write_text(json.dumps(chain))
    (work / "cloudtrail").mkdir()
    packed = gzip.compress((data / "cloudtrail.json").read_bytes())
    (work / "cloudtrail" / "a.json.gz").write_bytes(packed)


RUN = [
    page
    for page in PAGES
    if any(isinstance(each, Command) and each.not_run is None for each in steps(page))
]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_the_commands_of_a_page_do_what_it_says(
    page: Path, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lay_out(tmp_path)
    installation.work = tmp_path
    monkeypatch.chdir(tmp_path)
    before = dict(installation.given)
    try:
        for each in steps(page):
            if isinstance(each, File):
                (installation.work / each.name).write_text(each.text)
            elif each.not_run is None and each.program not in OUTSIDE and not _elsewhere(each):
                installation.run(_globbed(each))
    finally:
        installation.given = before
        installation.close()


def _elsewhere(shown: Command) -> bool:
    return " ".join((shown.program, *shown.words[1:])) in ELSEWHERE


def _globbed(shown: Command) -> Command:
    """With file patterns as a shell would have them."""
    words: list[str] = []
    for word in shown.words:
        words += sorted(map(str, Path().glob(word))) if "*." in word else [word]
    return Command(shown.text, shown.given, tuple(words), shown.not_run, shown.code)
