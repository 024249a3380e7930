"""The keywords of `$jsonSchema` that collections may use, and what a validator says of a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from neo_polystore.errors import FieldProblem
from neo_polystore.records.patterns import is_shared_pattern

Rule = dict[str, Any]
Kind = Literal["string", "date", "bool", "int", "double"]
"""How a scalar compares: `int` stands for int and long, `double` for double and number."""

ID = "_id"
VERSION = "_version"
"""Where an engine counts the versions of a document in it; a versioned one has no other use."""

BSON_TYPES = (
    "string",
    "date",
    "bool",
    "int",
    "long",
    "double",
    "number",
    "object",
    "array",
    "null",
)

_KINDS: dict[str, Kind] = {
    "string": "string",
    "date": "date",
    "bool": "bool",
    "int": "int",
    "long": "int",
    "double": "double",
    "number": "double",
}


@dataclass(frozen=True, slots=True)
class Place:
    """What a validator declares at a path.

    `kind` is set where it declares exactly one scalar type there; `many` where arrays lie on the
    way, so that one document has any number of values at the path. `named` says that the file
    names every field on the way.
    """

    path: tuple[str, ...]
    rule: Rule
    kind: Kind | None
    many: bool
    named: bool

    @property
    def bson_type(self) -> Any:
        """The declared type or types, as the file has them."""
        return self.rule.get("bsonType")


def place_of(validator: Rule, field: str) -> Place:
    """Walk a dotted path through `properties`, `additionalProperties` and `items`."""
    path = tuple(field.split("."))
    rule, many, named = validator, False, True
    for step in path:
        while rule.get("bsonType") == "array":
            rule, many = item_rule(rule), True
        named = named and step in rule.get("properties", ())
        rule = member_rule(rule, step)
    if path == (ID,):
        return Place(path, rule, "string", many=False, named=True)
    return Place(path, rule, _kind(rule), many, named)


def member_rule(rule: Rule, name: str) -> Rule:
    """The rule for one field of an object, {} where nothing is declared."""
    properties = rule.get("properties")
    if properties is not None and name in properties:
        return properties[name]  # type: ignore[no-any-return]
    rest = rule.get("additionalProperties")
    return rest if isinstance(rest, dict) else {}


def item_rule(rule: Rule) -> Rule:
    """The rule for every item of an array, {} where nothing is declared."""
    return rule.get("items") or {}


def _kind(rule: Rule) -> Kind | None:
    declared = rule.get("bsonType")
    if isinstance(declared, str):
        return _KINDS.get(declared)
    values = rule.get("enum", ())
    return (
        "string"
        if declared is None and values and all(isinstance(v, str) for v in values)
        else None
    )


def field_name_problem(name: str) -> str | None:
    """Why a field cannot have this name in either engine, or None."""
    if name.startswith("$"):
        return "a field name cannot start with $"
    if "." in name:
        return "a field name cannot contain a dot"
    if "\x00" in name:
        return "a field name cannot contain a NUL character"
    return None


def rule_problems(
    rule: Any, path: str = "validator", *, combined: bool = False
) -> list[FieldProblem]:
    """What is wrong with a `$jsonSchema`: what not every engine takes, or not in the same way.

    An unknown keyword is wrong, it would hold nowhere. `combined` rules are parts of another one.
    """
    if not isinstance(rule, dict):
        return [FieldProblem(path, f"expected an object, got {type(rule).__name__}")]
    problems = []
    for keyword, argument in rule.items():
        check = _KEYWORDS.get(keyword)
        if check is None:
            known = ", ".join(_KEYWORDS)
            problems.append(
                FieldProblem(path, f"unsupported keyword {keyword!r}; there are {known}")
            )
        elif not check(argument):
            problems.append(FieldProblem(f"{path}.{keyword}", f"cannot be {str(argument)[:60]!r}"))
    for keyword, wanted in _NEEDS.items():
        if keyword in rule and wanted not in rule:
            problems.append(FieldProblem(f"{path}.{keyword}", f"needs {wanted}"))
    if combined and "long" in _listed(rule.get("bsonType")):
        problems.append(FieldProblem(f"{path}.bsonType", 'cannot be "long" here: say "number"'))
    if rule.get("bsonType") == "date" and (more := [*(rule.keys() - _WITH_DATES)]):
        problems.append(FieldProblem(f"{path}.{more[0]}", "says nothing of a date"))
    for name, inner in _inner(rule):
        below = combined or name.split(".")[0] in _COMBINING
        problems += rule_problems(inner, f"{path}.{name}", combined=below)
    return problems


def _inner(rule: Rule) -> Iterator[tuple[str, Any]]:
    properties = rule.get("properties")
    if isinstance(properties, dict):
        yield from ((f"properties.{name}", inner) for name, inner in properties.items())
    if isinstance(rule.get("additionalProperties"), dict):
        yield "additionalProperties", rule["additionalProperties"]
    for keyword in ("items", "not"):
        if keyword in rule:
            yield keyword, rule[keyword]
    for keyword in _COMBINING[1:]:
        if isinstance(rule.get(keyword), list):
            yield from ((f"{keyword}.{i}", inner) for i, inner in enumerate(rule[keyword]))


def _is_type(value: Any) -> bool:
    names = _listed(value)
    return all(isinstance(name, str) and name in BSON_TYPES for name in names) and _is_set(names)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value else [value]


def _is_set(values: list[Any]) -> bool:
    """Whether no two are equal; a truth value is no number."""
    return len({(isinstance(value, bool), value) for value in values}) == len(values)


def _is_enum(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and (all(isinstance(v, str | int) for v in value) and _is_set(value))
    )


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and (all(isinstance(v, str) for v in value) and _is_set(value))
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


_KEYWORDS: dict[str, Callable[[Any], bool]] = {
    "title": lambda value: isinstance(value, str),
    "description": lambda value: isinstance(value, str),
    "bsonType": _is_type,
    "enum": _is_enum,
    "required": _is_names,
    "properties": _is_object,
    "additionalProperties": lambda value: isinstance(value, dict | bool),
    "minProperties": _is_count,
    "maxProperties": _is_count,
    "items": _is_object,
    "minItems": _is_count,
    "maxItems": _is_count,
    "uniqueItems": lambda value: isinstance(value, bool),
    "minLength": _is_count,
    "maxLength": _is_count,
    "pattern": is_shared_pattern,
    "minimum": _is_number,
    "maximum": _is_number,
    "exclusiveMinimum": lambda value: isinstance(value, bool),
    "exclusiveMaximum": lambda value: isinstance(value, bool),
    "anyOf": _is_list,
    "allOf": _is_list,
    "oneOf": _is_list,
    "not": _is_object,
}

_NEEDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_COMBINING = ("not", "anyOf", "allOf", "oneOf")
_WITH_DATES = {"bsonType", "title", "description"}
