"""Compiles a collection's validator into SQL, so that it holds for every client that writes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson

from neo_polystore.records.collections import Collection
from neo_polystore.records.patterns import for_postgresql
from neo_polystore.records.rules import ID, Rule, item_rule
from neo_polystore.records.values import DATE_MARK
from neo_polystore.stores.jsonb.sql import DATE_PATTERN, literal


def problem_case(collection: Collection) -> str:
    """A CASE over `_id` and `body` that answers the first broken rule as text, or NULL."""
    branches = [f"WHEN body ? {literal(ID)} THEN {literal('_id: the column holds it')}"]
    for path, rule, condition in _conditions(collection.validator):
        text = f"{path}: breaks {rule} of {collection.name}"
        branches.append(f"WHEN NOT ({condition}) THEN {literal(text)}")
    return "CASE\n    " + "\n    ".join(branches) + "\n    END"


def _conditions(validator: Rule) -> Iterator[tuple[str, str, str]]:
    """Path, rule and condition of every top-level rule, so that a message can name them."""
    properties = validator.get("properties", {})
    yield "document", 'bsonType "object"', "jsonb_typeof(body) = 'object'"
    for name in validator.get("required", ()):
        if name != ID:
            yield name, "required", f"body ? {literal(name)}"
    for name, rule in properties.items():
        value = "to_jsonb(_id)" if name == ID else f"(body -> {literal(name)})"
        for keyword, argument in rule.items():
            condition = _Compiler().rule({keyword: argument}, value, whole=rule)
            if condition != "true":
                text = f"{keyword} {orjson.dumps(argument).decode()}"
                yield name, text[:200], f"{value} IS NULL OR ({condition})"
    for keyword in validator:
        if keyword not in ("bsonType", "required", "properties"):
            condition = _Compiler().rule({keyword: validator[keyword]}, "body", whole=validator)
            if condition != "true":
                yield "document", keyword, condition


class _Compiler:
    """One expression; it numbers its subqueries, so that nested ones never share a name."""

    def __init__(self) -> None:
        self.names = (f"e{number}" for number in count(1))
        self.combined = 0

    def rule(self, rule: Rule, value: str, *, whole: Rule | None = None) -> str:
        """The condition that a present value satisfies the rule; never NULL."""
        whole = rule if whole is None else whole
        parts = [self._keyword(k, argument, value, whole) for k, argument in rule.items()]
        return " AND ".join(f"({part})" for part in parts if part != "true") or "true"

    def _keyword(self, keyword: str, argument: Any, value: str, whole: Rule) -> str:
        match keyword:
            case "bsonType":
                names = argument if isinstance(argument, list) else [argument]
                return " OR ".join(self._type(name, value, names) for name in names)
            case "enum":
                return f"{value} IN ({', '.join(_jsonb(item) for item in argument)})"
            case "anyOf" | "allOf" | "oneOf" | "not":
                return self._combination(keyword, argument, value)
        for kind, compiled in (
            ("object", self._object(keyword, argument, value, whole)),
            ("array", self._array(keyword, argument, value)),
            ("string", _string(keyword, argument, value)),
            ("number", _number(keyword, argument, value, whole)),
        ):
            if compiled is not None:
                # a keyword says nothing of values of other types; CASE keeps the casts apart
                return f"CASE WHEN {_is_type(kind, value)} THEN {compiled} ELSE true END"
        return "true"

    def _combination(self, keyword: str, argument: Any, value: str) -> str:
        self.combined += 1
        inner = argument if isinstance(argument, list) else [argument]
        parts = [f"({self.rule(rule, value)})" for rule in inner]
        self.combined -= 1
        match keyword:
            case "oneOf":
                return " + ".join(f"{part}::int" for part in parts) + " = 1"
            case "not":
                return f"NOT {parts[0]}"
        return (" OR " if keyword == "anyOf" else " AND ").join(parts)

    def _type(self, name: str, value: str, names: list[str]) -> str:
        if name != "date":
            return _is_type(name, value)
        marked, text = _is_type("date", value), _is_date_text(value)
        if self.combined:
            return f"({marked} OR {text})"
        return text if names == ["date"] else marked

    def _object(self, keyword: str, argument: Any, value: str, whole: Rule) -> str | None:
        match keyword:
            case "required":
                names = ", ".join(literal(name) for name in argument)
                return f"{value} ?& ARRAY[{names}]"
            case "properties":
                parts = [
                    f"({value} -> {literal(name)}) IS NULL OR ({self.rule(rule, inner)})"
                    for name, rule in argument.items()
                    if (inner := f"({value} -> {literal(name)})")
                ]
                return " AND ".join(f"({part})" for part in parts) or "true"
            case "additionalProperties" if argument is not True:
                names = ", ".join(literal(n) for n in (ID, *whole.get("properties", ())))
                rest, item = f"({value} - ARRAY[{names}])", next(self.names)
                if argument is False:
                    return f"{rest} = '{{}}'::jsonb"
                broken = f"NOT ({self.rule(argument, f'{item}.value')})"
                return f"NOT EXISTS (SELECT FROM jsonb_each({rest}) AS {item} WHERE {broken})"
            case "minProperties" | "maxProperties":
                size = f"(SELECT count(*) FROM jsonb_object_keys({value}))"
                # the document's own _id counts, and is no part of the body
                own = " + 1" if value == "body" else ""
                return f"{size}{own} {'>=' if keyword == 'minProperties' else '<='} {argument}"
        return None

    def _array(self, keyword: str, argument: Any, value: str) -> str | None:
        match keyword:
            case "items":
                item = next(self.names)
                broken = f"NOT ({self.rule(item_rule({'items': argument}), f'{item}.value')})"
                items = f"jsonb_array_elements({value}) AS {item}(value)"
                return f"NOT EXISTS (SELECT FROM {items} WHERE {broken})"
            case "minItems":
                return f"jsonb_array_length({value}) >= {argument}"
            case "maxItems":
                return f"jsonb_array_length({value}) <= {argument}"
            case "uniqueItems" if argument:
                return (
                    "(SELECT count(*) = count(DISTINCT item)"
                    f" FROM jsonb_array_elements({value}) AS items(item))"
                )
        return None


def _string(keyword: str, argument: Any, value: str) -> str | None:
    text = f"({value} #>> '{{}}')"
    match keyword:
        case "minLength":
            return f"char_length({text}) >= {argument}"
        case "maxLength":
            return f"char_length({text}) <= {argument}"
        case "pattern":
            return f"{text} ~ {literal(for_postgresql(argument))}"
    return None


def _number(keyword: str, argument: Any, value: str, whole: Rule) -> str | None:
    match keyword:
        case "minimum":
            operator = ">" if whole.get("exclusiveMinimum") else ">="
        case "maximum":
            operator = "<" if whole.get("exclusiveMaximum") else "<="
        case _:
            return None
    return f"({value})::numeric {operator} {argument}"


def _is_date_text(value: str) -> str:
    text = f"({value} #>> '{{}}')"
    return f"(jsonb_typeof({value}) = 'string' AND {text} ~ {literal(DATE_PATTERN)})"


def _is_type(name: str, value: str) -> str:
    typed, text = f"jsonb_typeof({value})", f"({value} #>> '{{}}')"
    marked = f"({typed} = 'object' AND {value} ? {literal(DATE_MARK)})"
    match name:
        case "date":
            return marked
        case "bool":
            return f"{typed} = 'boolean'"
        case "int" | "long":
            limit = 2**31 if name == "int" else 2**63
            whole = f"{text} ~ '^-?[0-9]+$' AND ({value})::numeric BETWEEN {-limit} AND {limit - 1}"
            return f"CASE WHEN {typed} = 'number' THEN {whole} ELSE false END"
        case "double":  # as it is written, with a point and a digit behind it
            return f"CASE WHEN {typed} = 'number' THEN {text} ~ '[.]' ELSE false END"
        case "number":
            return f"{typed} = 'number'"
        case "object":
            return f"({typed} = 'object' AND NOT {marked})"
        case _:
            return f"{typed} = {literal(name)}"


def _jsonb(value: Any) -> str:
    return f"{literal(orjson.dumps(value).decode())}::jsonb"
