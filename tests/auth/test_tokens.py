"""JSON Web Tokens: the good ones prove who bears them, the bad ones nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from neo_polystore.auth.jwks import KeySet, _keys
from neo_polystore.auth.tokens import Claims, Tokens
from neo_polystore.errors import ConfigError, UnauthenticatedError, UnavailableError, UsageError
from tests.auth.signing import (
    SECRET,
    TENANT,
    by_hand,
    claims,
    hs256,
    key_set,
    pem,
    public,
    signed,
)

WANTED = Claims(issuer="neo-polystore", audience="neo-polystore")


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """Takes HS256 under our secret, and the others under the keys of a file."""
    file = tmp_path / "jwks.json"
    keys = [public("RS256", "r"), public("ES256", "e"), public("EdDSA", "d")]
    file.write_text(key_set(*keys, {"kty": "oct", "kid": "o", "k": "c2VjcmV0"}))
    return Tokens(WANTED, secret=SECRET, keys=KeySet(str(file)))


async def refusal(tokens: Tokens, token: str) -> str:
    """Why it is refused, which must not repeat the token."""
    with pytest.raises(UnauthenticatedError) as caught:
        await tokens.principal(token)
    for part in token.split("."):
        assert len(part) < 8 or part not in str(caught.value)
    return str(caught.value)


async def test_a_token_says_tenant_service_user_and_roles(tokens: Tokens) -> None:
    found = await tokens.principal(hs256(service="oracle", roles=["service", "root"]))
    assert (found.scope.tenant, found.scope.service) == (TENANT, "oracle")
    assert (found.scope.user, found.proof) == ("somebody", "jwt")
    assert found.roles == {"service"}  # and none that the platform does not know


@pytest.mark.parametrize(("algorithm", "kid"), [("RS256", "r"), ("ES256", "e"), ("EdDSA", "d")])
async def test_a_key_of_the_set_verifies(tokens: Tokens, algorithm: str, kid: str) -> None:
    assert (await tokens.principal(signed(algorithm, kid))).scope.user == "somebody"


async def test_roles_may_be_words_or_lie_in_an_object() -> None:
    words = Tokens(WANTED, secret=SECRET)
    assert (await words.principal(hs256(roles="reader auditor"))).roles == {"reader", "auditor"}
    nested = Tokens(
        Claims("neo-polystore", "neo-polystore", roles="realm_access.roles"), secret=SECRET
    )
    token = hs256(roles=None, realm_access={"roles": ["operator"]})
    assert (await nested.principal(token)).roles == {"operator"}
    assert (await nested.principal(hs256(realm_access="operator"))).roles == frozenset()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": int(time.time()) - 60}, "has expired"),
    "not yet valid": ({"nbf": int(time.time()) + 600}, "not valid yet"),
    "issued in the future": ({"iat": int(time.time()) + 600}, "not valid yet"),
    "another audience": ({"aud": "elsewhere"}, "another audience"),
    "another issuer": ({"iss": "https://evil.example"}, "another issuer"),
    "no expiry": ({"exp": None}, "lacks a claim"),
    "no audience": ({"aud": None}, "lacks a claim"),
    "no issuer": ({"iss": None}, "lacks a claim"),
    "no subject": ({"sub": None}, "lacks a claim"),
    "no text as subject": ({"sub": 7}, "malformed"),
    "endless expiry": ({"exp": 1e400}, "malformed"),
    "expiry that is no number": ({"exp": "tomorrow"}, "malformed"),
    "tenant that is no UUID": ({"tenant": "' OR 1=1 --"}, "no UUID"),
    "tenant that is no text": ({"tenant": ["a"]}, "no UUID"),
    "subject with NUL": ({"sub": "a\0b"}, "not usable"),
    "subject that is too long": ({"sub": "a" * 300}, "not usable"),
    "roles that are an object": ({"roles": {"admin": True}}, "cannot be read"),
    "service that is a list": ({"service": ["a"]}, "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_claim_is_refused(tokens: Tokens, case: str) -> None:
    changes, why = BAD[case]
    assert why in await refusal(tokens, hs256(**changes))


async def test_the_clock_of_an_issuer_may_be_off_by_the_leeway(tokens: Tokens) -> None:
    now = int(time.time())
    await tokens.principal(hs256(exp=now - 20, nbf=now + 20))
    await refusal(tokens, hs256(exp=now - 40))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 5])
async def test_an_unsigned_token_is_refused(tokens: Tokens, algorithm: Any) -> None:
    await refusal(tokens, by_hand({"alg": algorithm, "typ": "JWT"}, claims(roles=["admin"])))
    await refusal(tokens, by_hand({"typ": "JWT"}, claims(roles=["admin"])))


async def test_a_public_key_is_no_secret(tokens: Tokens) -> None:
    """The confusion of algorithms: HS256 under what everybody knows."""
    only_keys = Tokens(WANTED, keys=tokens._keys)
    text = pem("RS256", "r").encode()
    for verifier in (tokens, only_keys):
        for kid in ("r", None):
            header = {"alg": "HS256", "typ": "JWT", "kid": kid}
            unsigned = by_hand(header, claims()).rpartition(".")[0]
            mac = hmac.new(text, unsigned.encode(), hashlib.sha256).digest()
            forged = by_hand(header, claims(), mac)
            await refusal(verifier, forged)


async def test_a_key_serves_its_own_algorithm_only(tokens: Tokens) -> None:
    assert "no key" in await refusal(tokens, signed("EdDSA", "r"))
    assert "no key" in await refusal(tokens, signed("ES256", "d"))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_other_algorithms_are_refused(tokens: Tokens, algorithm: str) -> None:
    token = jwt.encode(claims(), SECRET * 2, algorithm=algorithm)
    assert "not accepted" in await refusal(tokens, token)


async def test_a_secret_of_the_key_set_is_not_used(tokens: Tokens) -> None:
    only_keys = Tokens(WANTED, keys=tokens._keys)
    assert "not accepted" in await refusal(only_keys, hs256("secret" * 8))


async def test_every_tampered_part_is_noticed(tokens: Tokens) -> None:
    token = hs256()
    header, content, signature = token.split(".")
    other = hs256(roles=["admin"]).split(".")[1]
    await refusal(tokens, f"{header}.{other}.{signature}")
    await refusal(tokens, f"{header}.{content}.{signature[:-4]}AAAA")
    await refusal(tokens, f"{header}.{content}.")
    await refusal(tokens, hs256("another secret, but of the right length" * 2))
    stranger = signed("RS256", "other key")
    assert "no key" in await refusal(tokens, stranger)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "...", "a.b.c", "{}", "eyJ.eyJ.eyJ", "e30.e30.", "🙂.a.b", "a" * 5000]
)
async def test_what_is_no_token_is_refused(tokens: Tokens, token: str) -> None:
    await refusal(tokens, token)


async def test_a_header_that_demands_extensions_is_refused(tokens: Tokens) -> None:
    token = jwt.encode(claims(), SECRET, "HS256", headers={"crit": ["exp"], "exp": 1})
    await refusal(tokens, token)
    unencoded = by_hand({"alg": "HS256", "b64": True}, claims())
    assert "extension" in await refusal(tokens, unencoded)


async def test_a_deeply_nested_token_is_refused(tokens: Tokens) -> None:
    deep = by_hand({"alg": "HS256"}, {}).split(".")
    nested = ("[" * 50_000 + "]" * 50_000).encode()
    deep[0] = base64.urlsafe_b64encode(nested).rstrip(b"=").decode()
    await refusal(tokens, ".".join(deep))


def test_a_short_secret_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="32 bytes"):
        Tokens(WANTED, secret="s" * 31)


async def test_what_we_sign_we_take() -> None:
    tokens = Tokens(WANTED, secret=SECRET)
    tenant = uuid4()
    made = tokens.sign(user="ci", tenant=tenant, roles=["operator"], seconds=60, service="oracle")
    found = await tokens.principal(made)
    assert (found.scope.tenant, found.scope.service, found.scope.user) == (tenant, "oracle", "ci")
    with pytest.raises(UsageError, match="no role root"):
        tokens.sign(user="ci", tenant=None, roles=["root"], seconds=60)
    with pytest.raises(ConfigError, match="JWT_SECRET_KEY"):
        Tokens(WANTED).sign(user="ci", tenant=None, roles=[], seconds=60)


def test_a_set_of_one_weak_key_verifies_nothing() -> None:
    key = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505
    weak = RSAAlgorithm.to_jwk(key, as_dict=True)
    for keys in ([{**weak, "kid": "w"}], [public("RS256", "r", use="enc")], [{"kty": "EC"}], []):
        with pytest.raises(UnavailableError):
            _keys(json.dumps({"keys": keys}).encode())
