"""Every keyword of a validator judges every kind of value alike: here, in MongoDB, in PostgreSQL.

MongoDB's own `$jsonSchema` is the measure, asked through an aggregation; PostgreSQL is asked by
the expression that its trigger has. Rules are each keyword by itself, and seeded combinations.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.records.collections import Collection
from neo_polystore.records.rules import BSON_TYPES, Rule, rule_problems
from neo_polystore.records.validators import check
from neo_polystore.stores.jsonb.encoding import encode as as_json
from neo_polystore.stores.jsonb.rules import problem_case
from tests.conftest import MakeDatabase

TIME = datetime(2024, 1, 1, tzinfo=UTC)
SCALARS: list[Any] = [
    *("", "a", "A", "b1", "x", "x\n", "\n", "1\n", "a.b", "12", "é", "٣", "\u2028", "\xa0", "😀"),
    *(0, 1, 5, -9, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 0.5, 1.0, -1e16, 5e-324),
    *(True, False, None, TIME, "2024-01-01T00:00:00Z", "x" * 12),
]
NESTED: list[Any] = [
    *([], [1], [1, 1], [1, 1.0], [1, True], [None, None], ["a", "é"], [[1], [1.0]], [TIME, TIME]),
    *([{"a": 1, "b": 2}, {"b": 2, "a": 1}], [0.5, "x", TIME]),
    *({}, {"a": 1}, {"a": None}, {"a": "x", "b": [1, 2]}, {"a": {"b": "x"}}, {"b": 0.5, "c": TIME}),
]
VALUES = [*SCALARS, *NESTED]
PLAIN: list[Rule] = [
    *({"bsonType": name} for name in BSON_TYPES),
    *({"bsonType": list(names)} for names in (("int", "string"), ("long", "string"))),
    *({"bsonType": list(names)} for names in (("int", "long"), ("double", "null", "date"))),
    *({"enum": values} for values in (["a"], [1], [0, "x"], [True], [1, True])),
    *({"pattern": p} for p in ("^a", "[0-9]", "x$", "^$", "^.$", "^[^a]*$", r"a\.b", "(?:a|b)1?$")),
    *({"pattern": p} for p in ("[.$]", "x{1,3}$", "^[^a-z]+$", "^[]a]", "[😀-😂]")),
    *({"minLength": 1}, {"maxLength": 1}, {"minLength": 1, "maxLength": 11}),
    *({"uniqueItems": True}, {"minItems": 1}, {"maxItems": 1}, {"minProperties": 1}),
    *({"maxProperties": 0}, {"required": ["a"]}, {"required": ["a", "b"]}),
    *({"minimum": 1}, {"minimum": 1, "exclusiveMinimum": True}, {"maximum": 2**53}),
    *({"maximum": 0.5, "exclusiveMaximum": True}, {"minimum": 1.0, "maximum": 5}),
]


def combinations(seed: int, count: int) -> list[Rule]:
    """Rules made of rules, as a file may have them."""
    chance = random.Random(seed)

    def rule(depth: int) -> Rule:
        if depth == 0 or chance.random() < 0.2:
            return dict(chance.choice(PLAIN))
        match chance.randrange(6):
            case 0:
                return {"properties": {name: rule(depth - 1) for name in chance.sample("abc", 2)}}
            case 1:
                rest = chance.choice([True, False, rule(depth - 1)])
                return {"properties": {"a": rule(depth - 1)}, "additionalProperties": rest}
            case 2:
                return {"items": rule(depth - 1)}
            case 3:
                return {"not": rule(depth - 1)}
            case 4:
                return {**rule(depth - 1), **rule(0)}
        return {chance.choice(["anyOf", "allOf", "oneOf"]): [rule(depth - 1), rule(depth - 1)]}

    made = (rule(3) for _ in range(count))
    return [each for each in made if not rule_problems(each)]


class Judges:
    """Who says which of some documents satisfy a validator."""

    def __init__(self, database: Any, connection: asyncpg.Connection[asyncpg.Record]):
        self._database = database
        self._connection = connection

    async def mongodb(self, validator: Rule, bodies: Sequence[dict[str, Any]]) -> set[str]:
        """What a `$match` by its own `$jsonSchema` lets pass."""
        from neo_polystore.stores.mongo.writing import encode

        documents = [{"$literal": encode(body, validator)} for body in bodies]
        stages = [{"$documents": documents}, {"$match": {"$jsonSchema": validator}}]
        cursor = await self._database.aggregate(stages)
        return {found["_id"] async for found in cursor}

    async def postgresql(
        self, collection: Collection, bodies: Sequence[dict[str, Any]]
    ) -> set[str]:
        """What the trigger's expression finds no problem in."""
        rest = [{name: value for name, value in body.items() if name != "_id"} for body in bodies]
        rows = await self._connection.fetch(
            "SELECT _id FROM (SELECT k AS _id, t::jsonb AS body"
            " FROM unnest($1::text[], $2::text[]) AS given (k, t)) AS documents"
            f" WHERE ({problem_case(collection)}) IS NULL",
            [body["_id"] for body in bodies],
            [as_json(body, collection.validator) for body in rest],
        )
        return {row["_id"] for row in rows}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def judges(mongo_server: str, make_database: MakeDatabase) -> AsyncIterator[Judges]:
    from pymongo import AsyncMongoClient

    config = await make_database("judges")
    connection = await asyncpg.connect(**config.connect_arguments())
    async with AsyncMongoClient[dict[str, Any]](mongo_server, tz_aware=True) as client:
        yield Judges(client["judges"], connection)
    await connection.close()


async def agreed(judges: Judges, rule: Rule) -> int:
    """How many values satisfy the rule, where all three say the same of each."""
    validator = {"bsonType": "object", "properties": {"v": rule}}
    assert rule_problems(validator) == []
    collection = Collection("judged", 1, validator)
    bodies = [{"_id": str(number), "v": value} for number, value in enumerate(VALUES)]
    good = {body["_id"] for body in bodies if not check(collection, body)}

    def shown(keys: set[str]) -> list[Any]:
        return [VALUES[int(key)] for key in sorted(keys, key=int)]

    told = {
        "MongoDB": await judges.mongodb(validator, bodies),
        "PostgreSQL": await judges.postgresql(collection, bodies),
    }
    for server, keys in told.items():
        assert (server, rule, shown(keys - good), shown(good - keys)) == (server, rule, [], [])
    return len(good)


@pytest.mark.parametrize("rule", PLAIN, ids=str)
async def test_a_keyword_judges_alike(judges: Judges, rule: Rule) -> None:
    assert 0 < await agreed(judges, rule) < len(VALUES)


@pytest.mark.parametrize("count", [200, pytest.param(5_000, marks=pytest.mark.long)])
async def test_combinations_judge_alike(judges: Judges, count: int) -> None:
    for rule in combinations(count, count):
        await agreed(judges, rule)


async def test_a_rule_that_a_server_refuses_is_refused_in_the_file(judges: Judges) -> None:
    from pymongo.errors import OperationFailure

    refused: list[Rule] = [
        *({"enum": [1, 1]}, {"required": ["a", "a"]}, {"bsonType": ["int", "int"]}),
        *({"exclusiveMinimum": True}, {"exclusiveMaximum": True}, {"pattern": "("}),
    ]
    for rule in refused:
        assert rule_problems(rule), rule
        with pytest.raises(OperationFailure):
            await judges.mongodb({"properties": {"v": rule}}, [{"_id": "1", "v": 1}])


@pytest.mark.parametrize(
    "pattern", [r"^\d+$", r"\w", r"\s", r"\bx", r"\Ax", r"(?i)a", r"(?=a)", r"[[:alpha:]]", "a++"]
)
def test_a_pattern_that_engines_read_differently_is_refused(pattern: str) -> None:
    [problem] = rule_problems({"pattern": pattern})
    assert problem.field == "validator.pattern"


def test_a_rule_of_dates_has_no_other_keyword() -> None:
    """One engine keeps a declared date as text, which others would be asked of."""
    [problem] = rule_problems({"bsonType": "date", "title": "When", "minLength": 1})
    assert problem.field == "validator.minLength"


def test_the_width_of_a_number_cannot_be_asked_in_a_combination() -> None:
    """Nothing says there how wide it has to be written."""
    [problem] = rule_problems({"anyOf": [{"bsonType": ["long", "string"]}, {"bsonType": "date"}]})
    assert (problem.field, '"number"' in problem.reason) == ("validator.anyOf.0.bsonType", True)
