"""The README's promises that can be run: its Python, its commands' names, its links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from neo_polystore.embedded import Membership
from tests.cli.conftest import environment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_its_python_runs_as_it_stands(data_dir: Path, embedded: Membership) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=data_dir,
        env=environment(data_dir),
    )
    assert done.returncode == 0, done.stderr
    assert "my chain" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]
    assert not missing


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {name for page in PAGES for name in re.findall(r"\bmake ([a-z-]+)\b", page.read_text())}
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"run", "test"} <= named & targets
    code = {n for p in PAGES for n in re.findall(r"`make ([a-z-]+)`", p.read_text())}
    assert code <= targets
