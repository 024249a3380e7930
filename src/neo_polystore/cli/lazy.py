"""Commands that are imported when they are asked for: all of them take a second or more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is: a module of `neo_polystore.cli`, and the function or Typer in it."""

    module: str
    name: str = "app"
    hidden: bool = False

    def command(self, name: str) -> Any:
        """Import it, as a command of this name."""
        found = getattr(import_module(f"neo_polystore.cli.{self.module}"), self.name)
        if isinstance(found, typer.Typer):
            command: Any = typer.main.get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command()(found)
            command = typer.main.get_command(alone)
        command.name, command.hidden = name, self.hidden
        return command


@dataclass
class _Commands(MutableMapping[str, Any]):
    """By name, each imported at its first use."""

    places: Mapping[str, Place]
    _made: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self.places[name].command(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.places, *self._made)))

    def __len__(self) -> int:
        return len({*self.places, *self._made})


def group_of(places: Mapping[str, Place]) -> type[TyperGroup]:
    """The class of a group that has these commands."""

    class Lazy(TyperGroup):
        def __init__(self, **attributes: Any):
            super().__init__(**attributes)
            self.commands = _Commands(places)

        def list_commands(self, ctx: Any) -> list[str]:
            """Names in their order; nothing is imported for it."""
            return list(self.commands)

    return Lazy
