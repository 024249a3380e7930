"""SCRAM-SHA-256 verifiers made on this side, so that no clear password ever travels in SQL.

RFC 5802 says how the keys come from the password, RFC 7677 that it is SHA-256 and at least 4096
iterations, RFC 5803 how a verifier is stored; PostgreSQL's form of it is
`SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import stringprep
import unicodedata

ITERATIONS = 4096
SALT_BYTES = 16

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def verifier(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """What the server keeps in place of the password; a new random salt every time."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def prepared(password: str) -> str:
    """The password as clients send it: SASLprep (RFC 4013), or as it is where that refuses it."""
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    text = unicodedata.normalize("NFKC", mapped)
    if not text or any(refuses(c) for c in text for refuses in _PROHIBITED):
        return password
    right_to_left = [stringprep.in_table_d1(c) for c in text]
    if any(right_to_left) and (
        any(stringprep.in_table_d2(c) for c in text) or not (right_to_left[0] and right_to_left[-1])
    ):
        return password
    return text


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
