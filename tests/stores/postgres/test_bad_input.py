"""Bad input: its own clear error, by whatever way it comes, and the rest of the batch is stored."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from neo_polystore.errors import ConflictError, ValidationError
from neo_polystore.ids import SYSTEM_TENANT, uuid7
from neo_polystore.pgkit.errors import translate
from neo_polystore.polystore import Polystore
from neo_polystore.records.accounts import User
from neo_polystore.records.base import MAX_AMOUNT
from neo_polystore.records.query import Query
from neo_polystore.records.scope import SYSTEM
from neo_polystore.records.transactions import Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres.store import PostgresStore
from tests.api.conftest import client_of
from tests.cli.conftest import Cli, cli, here  # noqa: F401
from tests.conformance.chains import CHAIN, UNKNOWN_CHAIN, address, hash32, load_network

HOSTILE = "'; DROP TABLE auth.users; --"
LARGE = "x" * 2_000_000

BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "amount out of range": ({"value": str(MAX_AMOUNT + 1)}, "value", "78 digits"),
    "negative amount": ({"value": "-1"}, "value", "non-negative"),
    "amount that is no number": ({"value": "1e18"}, "value", "whole number"),
    "unknown enum value": ({"status": "lost"}, "status", "'pending', 'confirmed'"),
    "foreign key to nothing": ({"chain_id": UNKNOWN_CHAIN}, "chain_id", "network"),
    "text longer than its column": ({"to_address": LARGE}, "to_address", "address"),
    "NUL in text": ({"input_data": "a\x00b"}, "input_data", "NUL"),
    "lone surrogate": ({"input_data": "a\ud800b"}, "input_data", "surrogate"),
    "timestamp without zone": (
        {"block_timestamp": "2026-01-01T00:00:00"},
        "block_timestamp",
        "timezone",
    ),
    "number out of range": ({"confirmation_count": 2**31}, "confirmation_count", "less than"),
}


def transaction(**changes: Any) -> dict[str, Any]:
    """A good transaction but for the changes."""
    return {"chain_id": CHAIN, "hash": hash32(), "from_address": address(), **changes}


@pytest.fixture
async def network(polystore: Polystore) -> None:
    """Chain 1 on the shared platform."""
    await load_network(polystore.stores["postgres"])


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_record_is_refused_with_its_field_and_the_rest_is_stored_over_rest(
    settings: Settings, polystore: Polystore, network: None, name: str
) -> None:
    changes, field, words = BAD[name]
    good = [transaction(), transaction()]
    body = json.dumps([good[0], transaction(**changes), good[1]])
    async with client_of(settings, polystore) as api:
        answer = await api.post(
            "/api/store/transactions",
            content=body.encode("utf-8", "surrogatepass"),
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 207, answer.text
    found = answer.json()
    assert found["new"] == 2
    [rejected] = found["rejected"]
    assert (rejected["record"], rejected["field"]) == (2, field)
    assert words.lower() in rejected["reason"].lower()
    assert len(rejected["reason"]) < 300


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_line_of_a_file_is_reported_and_the_rest_is_loaded(
    polystore: Polystore,
    network: None,
    here: Cli,  # noqa: F811
    tmp_path: Any,
    name: str,
) -> None:
    changes, field, words = BAD[name]
    lines = [transaction(), transaction(**changes), transaction()]
    path = tmp_path / "transactions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    answer = await _in_thread(here, "load", "transactions", str(path), "--json")
    assert answer.code == 1, answer.err
    found = answer.json
    assert found["new"] == 2
    [rejected] = found["rejected"]
    assert rejected["record"] == 2
    assert rejected["field"] in (
        field,
        "record",
    )  # a line may be refused before its fields are read
    assert words.lower() in rejected["reason"].lower()


@pytest.mark.parametrize("name", [name for name in BAD if name != "foreign key to nothing"])
def test_a_bad_record_cannot_be_made_in_python(name: str) -> None:
    changes, field, words = BAD[name]
    with pytest.raises(ValidationError) as caught:
        Transaction.parse(transaction(**changes))
    [problem] = caught.value.problems
    assert (problem.field, words.lower() in problem.reason.lower()) == (field, True)


async def test_a_time_without_zone_is_refused_as_an_object_too() -> None:
    with pytest.raises(ValidationError, match="block_timestamp"):
        Transaction.parse(transaction(block_timestamp=datetime(2026, 1, 1)))  # noqa: DTZ001


async def test_a_foreign_key_to_nothing_names_its_field(postgres: PostgresStore) -> None:
    await load_network(postgres)
    wallets = postgres.port("wallets").within(SYSTEM)
    good = Wallet(chain_id=CHAIN, address=address())
    written = await wallets.write([good, Wallet(chain_id=CHAIN, address=address(), owner=uuid4())])
    assert written.new == 1
    [rejection] = written.rejected
    assert (rejection.index, rejection.field) == (1, "owner")


FORGED: dict[str, tuple[dict[str, Any], str, str]] = {
    "too long": ({"username": LARGE}, "username", "longer than 100 characters"),
    "not in the list": ({"status": "lost"}, "status", "not allowed"),
    "NUL": ({"username": "a\x00b"}, "username", "no store can hold"),
    "surrogate": ({"username": "a\ud800b"}, "username", "can hold"),
    "no text": ({"email_verified": "perhaps"}, "email_verified", "hold"),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("count", [1, 3, 1500])
async def test_what_passes_by_the_model_is_refused_by_the_database_in_our_words(
    postgres: PostgresStore, name: str, count: int
) -> None:
    changes, field, words = FORGED[name]
    users = [
        User(email=f"{uuid4().hex}@example.org", username=f"u{uuid4().hex}") for _ in range(count)
    ]
    users[count // 2] = users[count // 2].model_copy(update=changes)
    written = await postgres.port("accounts").within(SYSTEM).write(users)
    assert written.new == count - 1
    [rejection] = written.rejected
    assert rejection.index == count // 2
    assert words in rejection.reason
    assert "query argument" not in rejection.reason
    assert "codec" not in rejection.reason
    assert len(rejection.reason) < 300
    if name != "no text":
        assert rejection.field == field


async def test_hostile_text_is_stored_literally(postgres: PostgresStore) -> None:
    accounts = postgres.port("accounts").within(SYSTEM)
    name = f"{HOSTILE}{uuid4().hex}"
    user = User(email=f"{uuid4().hex}@example.org", username=name)
    assert (await accounts.write([user])).new == 1
    assert (await accounts.get(user.key)).username == name
    assert await accounts.count(Query().where("username", name)) == 1


async def complaint_of(postgres: PostgresStore, sql: str, *arguments: object) -> Exception:
    """What the engine makes of the server's refusal of this statement."""
    connection = await asyncpg.connect(**postgres.config.connect_arguments())
    try:
        async with connection.transaction():
            await connection.execute(
                "SELECT set_config('app.current_tenant', $1, true)", str(SYSTEM_TENANT)
            )
            await connection.execute(sql, *arguments)
    except asyncpg.PostgresError as error:
        return translate(error, store="postgres", operation="test")
    finally:
        await connection.close()
    raise AssertionError("the server took it")


INSERT_USER = (
    "INSERT INTO auth.users (id, tenant_id, email, username, password_hash, status)"
    " VALUES ($1, $2, $3, $4, $5, $6)"
)
SECRET = "argon2-secret-hash"


def user_row(**changes: Any) -> list[Any]:
    """The arguments of INSERT_USER."""
    row = {
        "id": uuid7(),
        "tenant_id": SYSTEM_TENANT,
        "email": f"{uuid4().hex}@example.org",
        "username": uuid4().hex,
        "password_hash": SECRET,
        "status": "active",
    }
    return list((row | changes).values())


async def test_a_taken_key_is_a_conflict_with_constraint_field_and_value(
    postgres: PostgresStore,
) -> None:
    user = User(email=f"{uuid4().hex}@example.org", username=uuid4().hex)
    await postgres.port("accounts").within(SYSTEM).write([user])
    error = await complaint_of(postgres, INSERT_USER, *user_row(email=user.email))
    assert isinstance(error, ConflictError)
    assert error.problem is not None
    assert error.problem.field == "email"
    assert error.problem.constraint == "users_email_unique"
    assert "Key (" not in str(error)


async def test_a_broken_rule_tells_field_and_constraint_and_not_the_row(
    postgres: PostgresStore,
) -> None:
    error = await complaint_of(postgres, INSERT_USER, *user_row(status="lost"))
    assert isinstance(error, ValidationError)
    [problem] = error.problems
    assert (problem.field, problem.constraint) == ("status", "users_status_check")
    assert SECRET not in str(error)
    assert "Failing row" not in str(error)


async def test_a_missing_value_names_its_column(postgres: PostgresStore) -> None:
    error = await complaint_of(postgres, INSERT_USER, *user_row(password_hash=None))
    assert isinstance(error, ValidationError)
    assert (error.problems[0].field, error.problems[0].reason) == ("password_hash", "is required")


async def test_the_value_of_a_secret_field_is_never_told(postgres: PostgresStore) -> None:
    token = secrets.token_hex(32)
    error = await complaint_of(
        postgres,
        "WITH t AS (SELECT $1::text AS h) INSERT INTO auth.sessions (tenant_id, user_id,"
        " token_hash, expires_at) SELECT u.tenant_id, u.id, t.h, now()"
        " FROM t, auth.users u, generate_series(1, 2) WHERE u.username = 'system'",
        token,
    )
    assert isinstance(error, ConflictError | ValidationError)
    assert token not in str(error)
    problem = error.problem if isinstance(error, ConflictError) else error.problems[0]
    assert problem is not None
    assert problem.value is None


async def test_a_foreign_key_tells_what_refers_to_nothing(postgres: PostgresStore) -> None:
    nobody = UUID(int=7)
    sql = (
        "INSERT INTO blockchain.smart_contracts (network_id, address, contract_type, abi)"
        " VALUES ($1, $2, 'token', '[]')"
    )
    error = await complaint_of(postgres, sql, nobody, address())
    assert isinstance(error, ValidationError), error
    [problem] = error.problems
    assert problem.field == "network_id"
    assert problem.value == repr(str(nobody))
    assert "refers to nothing" in problem.reason


async def test_a_number_that_no_column_holds_is_out_of_range(postgres: PostgresStore) -> None:
    error = await complaint_of(postgres, "SELECT 10::numeric ^ 20000000")
    assert isinstance(error, ValidationError)
    assert "out of range" in str(error)


async def test_a_conflict_over_rest_names_the_field(
    settings: Settings, polystore: Polystore
) -> None:
    from neo_polystore.api.errors import problem_of
    from neo_polystore.errors import FieldProblem

    conflict = ConflictError("email is already taken", store="postgres")
    conflict.problem = FieldProblem("email", "is already taken", "users_email_unique", "'a@b'")
    found = httpx.Response(409, content=bytes(problem_of(conflict, "/x").body)).json()
    assert found["problems"] == [
        {
            "field": "email",
            "reason": "is already taken",
            "constraint": "users_email_unique",
            "value": "'a@b'",
        }
    ]


async def _in_thread(run: Cli, *words: str) -> Any:
    import asyncio

    return await asyncio.to_thread(run, *words)
