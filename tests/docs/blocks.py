"""The commands of the documentation: fenced blocks, their lines, and what is said above them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("", "console", "sh")

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>not run|file|exits \d): (?P<said>.+?) -->\n)?"
    r"```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_EXPORTED = re.compile(r"(\w+)=(\$\([^)]*\)|\S+)")
_ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=.*")


@dataclass(frozen=True)
class Command:
    """One command line: `given` stands before the program as NAME=value."""

    text: str
    given: dict[str, str]
    words: tuple[str, ...]
    not_run: str | None = None
    code: int = 0

    @property
    def program(self) -> str:
        """The program's name, without the environment's folder."""
        return self.words[0].removeprefix(".venv/bin/") if self.words else ""


@dataclass(frozen=True)
class File:
    """A block that a page calls a file."""

    name: str
    text: str


def steps(page: Path) -> Iterator[Command | File]:
    """What a page shows, in order."""
    for block in _BLOCK.finditer(page.read_text()):
        if block["mark"] == "file":
            yield File(block["said"], block["text"])
        elif block["language"] in SHELL:
            exits = re.match(r"exits (\d)", block["mark"] or "")
            for line in lines(block["text"]):
                yield _command(
                    line,
                    not_run=block["said"] if block["mark"] == "not run" else None,
                    code=int(exits[1]) if exits else 0,
                )


def lines(text: str) -> list[str]:
    """The command lines of a block: continued ones joined, prompts and comments gone."""
    found = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        plain = re.sub(r"\s+# .*$", "", line).removeprefix("$ ").strip()
        found += [part.strip() for part in plain.split(" && ") if part]
    return found


def _command(text: str, *, not_run: str | None, code: int) -> Command:
    if text.startswith("export "):
        return Command(text, dict(_EXPORTED.findall(text)), (), not_run, code)
    words = shlex.split(text)
    given = {}
    while words and _ASSIGNMENT.fullmatch(words[0]):
        name, _, value = words.pop(0).partition("=")
        given[name] = value
    return Command(text, given, tuple(words), not_run, code)
