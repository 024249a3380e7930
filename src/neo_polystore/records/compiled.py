"""A validator compiled into Python functions that only say yes or no, for the many good documents.

What they refuse is looked at again by `validators.check`, which says why. Most documents are good,
so the words can be slow: by measurement this takes 3 microseconds for an audit entry where
`jsonschema` takes 42. Faster libraries (`jsonschema-rs`, `fastjsonschema`) know JSON's types only:
documents would have to become JSON text first, which costs more than the whole check.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from neo_polystore.records.rules import Rule, field_name_problem
from neo_polystore.records.values import INT32, INT64, MAX_DEPTH, has_year

Test = Callable[[Any], bool]

_SAYS_NOTHING = ("title", "description", "exclusiveMinimum", "exclusiveMaximum")


def compiled(rule: Rule, otherwise: Callable[[Rule], Test]) -> Test:
    """Whether a value satisfies the rule; `otherwise` makes the test for a keyword not done here.

    Takes values that `plain_size` has taken.
    """
    tests = [_test(k, argument, rule, otherwise) for k, argument in rule.items()]
    found = [test for test in tests if test is not None]
    match found:
        case []:
            return lambda value: True
        case [one]:
            return one
        case [one, two]:
            return lambda value: one(value) and two(value)
    return lambda value: all(test(value) for test in found)


def _test(
    keyword: str, argument: Any, rule: Rule, otherwise: Callable[[Rule], Test]
) -> Test | None:
    match keyword:
        case "bsonType":
            names = argument if isinstance(argument, list) else [argument]
            return _any_of([_TYPES[name] for name in names])
        case "enum" if all(isinstance(item, str) for item in argument):
            members = frozenset(argument)
            return lambda value: value.__class__ is str and value in members
        case "required":
            wanted = frozenset(argument)
            return lambda value: value.__class__ is not dict or wanted <= value.keys()
        case "properties":
            return _properties({n: compiled(inner, otherwise) for n, inner in argument.items()})
        case "additionalProperties":
            return _additional(argument, frozenset(rule.get("properties", ())), otherwise)
        case "items":
            item = compiled(argument, otherwise)
            return lambda value: value.__class__ is not list or all(map(item, value))
        case "minLength":
            return lambda value: value.__class__ is not str or len(value) >= argument
        case "maxLength":
            return lambda value: value.__class__ is not str or len(value) <= argument
        case "pattern":
            search = re.compile(argument).search
            return lambda value: value.__class__ is not str or search(value) is not None
        case _ if keyword in _SAYS_NOTHING:
            return None
    # minimum and maximum are judged together with what says whether they are exclusive
    return otherwise({k: v for k, v in rule.items() if k == keyword or k in _SAYS_NOTHING})


def _any_of(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def _properties(tests: dict[str, Test]) -> Test:
    def test(value: Any) -> bool:
        if value.__class__ is dict:
            for name, item in value.items():
                inner = tests.get(name)
                if inner is not None and not inner(item):
                    return False
        return True

    return test


def _additional(
    argument: Any, declared: frozenset[str], otherwise: Callable[[Rule], Test]
) -> Test | None:
    if argument is True:
        return None
    if argument is False:
        return lambda value: value.__class__ is not dict or value.keys() <= declared
    inner = compiled(argument, otherwise)
    return lambda value: (
        value.__class__ is not dict
        or all(inner(item) for name, item in value.items() if name not in declared)
    )


def _is(kind: type) -> Test:
    return lambda value: value.__class__ is kind


def _is_int32(value: Any) -> bool:
    return value.__class__ is int and -INT32 <= value < INT32


def _is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float


_TYPES: dict[str, Test] = {
    "string": _is(str),
    "date": _is(datetime),
    "bool": _is(bool),
    "int": _is_int32,
    "long": _is(int),  # plain_size takes none that is wider
    "double": _is(float),
    "number": _is_number,
    "object": _is(dict),
    "array": _is(list),
    "null": _is(type(None)),
}

_ODD = 1 << 40
"""More than any document may have: says that there is something to look at."""

_NAMES: dict[str, int] = {}
"""Field names that were found good, with what they take: most documents have the same ones."""

_MOST_NAMES = 10_000


def plain_size(value: Any, depth: int = 0) -> int:
    """The size as BSON of a value that every engine keeps, at most; a huge number for any other.

    Only exact classes count: whatever is special is for `values.value_problems` to tell of.
    """
    kind = value.__class__
    if kind is str:
        if value.isascii():
            return _ODD if "\x00" in value else len(value) + 5
        try:
            return _ODD if "\x00" in value else len(value.encode()) + 5
        except UnicodeEncodeError:
            return _ODD
    if kind is bool or value is None:
        return 1
    if kind is int:
        return 8 if -INT64 <= value < INT64 else _ODD
    if kind is float:
        return 8 if value - value == 0 else _ODD  # neither infinite nor NaN
    if kind is datetime:
        return 8 if value.tzinfo is not None and has_year(value) else _ODD
    if depth >= MAX_DEPTH:
        return _ODD
    if kind is dict:
        size = 5
        for name, item in value.items():
            size += _NAMES.get(name) or _name_size(name)
            if item.__class__ is str and item.isascii() and "\x00" not in item:
                size += len(item) + 5  # what most values are, without another call
            else:
                size += plain_size(item, depth + 1)
        return size
    if kind is list:
        size = 5 + 10 * len(value)
        for item in value:
            size += plain_size(item, depth + 1)
        return size
    return _ODD


def _name_size(name: Any) -> int:
    if name.__class__ is not str or field_name_problem(name) is not None:
        return _ODD
    try:
        size = len(name.encode()) + 2
    except UnicodeEncodeError:
        return _ODD
    if len(_NAMES) < _MOST_NAMES and size < 100:
        _NAMES[name] = size
    return size
