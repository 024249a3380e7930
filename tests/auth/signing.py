"""Keys and tokens of an identity provider that the tests play."""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "tests-only-" + "s" * 40
TENANT = UUID("01890000-0000-7000-8000-0000000000aa")


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says; None takes a claim away."""
    now = int(time.time())
    content = {
        "iss": "neo-polystore",
        "aud": "neo-polystore",
        "sub": "somebody",
        "iat": now,
        "exp": now + 300,
        "tenant": str(TENANT),
        "roles": ["reader"],
        **changes,
    }
    return {name: value for name, value in content.items() if value is not None}


def hs256(secret: str = SECRET, **changes: Any) -> str:
    """A token under a secret."""
    return jwt.encode(claims(**changes), secret, algorithm="HS256")


@cache
def private_key(algorithm: str, kid: str) -> Any:
    """The same key for the same algorithm and id."""
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def signed(algorithm: str, kid: str, **changes: Any) -> str:
    """A token under a private key, naming it."""
    key = private_key(algorithm, kid)
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": kid})


def public(algorithm: str, kid: str, **changes: Any) -> dict[str, Any]:
    """The public half as a JSON Web Key."""
    makers: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
    found = makers[algorithm].to_jwk(private_key(algorithm, kid).public_key(), as_dict=True)
    return {**found, "kid": kid, "alg": algorithm, "use": "sig", **changes}


def key_set(*keys: dict[str, Any]) -> str:
    """A JSON Web Key Set."""
    return json.dumps({"keys": keys})


def pem(algorithm: str, kid: str) -> str:
    """The public half as everybody can have it."""
    key = private_key(algorithm, kid).public_key()
    text: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def by_hand(header: dict[str, Any], content: dict[str, Any], signature: bytes = b"") -> str:
    """A token of any header, as an attacker puts it together."""
    parts = [json.dumps(header).encode(), json.dumps(content).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
