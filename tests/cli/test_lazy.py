"""Commands are imported when they are asked for, and are what they would be otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from neo_polystore.cli.main import COMMANDS, app


@pytest.mark.parametrize("name", COMMANDS)
def test_every_place_has_its_command_with_help(name: str) -> None:
    group = typer.main.get_group(app)
    found = group.commands[name]
    assert (found.name, found.hidden) == (name, COMMANDS[name].hidden)
    assert found.help


def test_one_command_does_not_import_the_others() -> None:
    ran = (
        "import sys; from typer.testing import CliRunner; from neo_polystore.cli.main import app;"
        "assert CliRunner().invoke(app, ['routes', '--help']).exit_code == 0;"
        "print(*{'uvicorn', 'boto3', 'numpy', 'neo_polystore.cli.backup'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", ran], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_command_that_is_misspelt_is_suggested() -> None:
    answer = CliRunner().invoke(app, ["bakcup"])
    assert answer.exit_code == 2
    assert "Did you mean 'backup'?" in answer.output
