"""The worked example of docs/sealing.md, computed from its description, then by the library."""

from __future__ import annotations

import hmac
import io
import re
import struct
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from neo_polystore.records.sealing import Binding, Identity, UserOwner
from neo_polystore.sealing.blob import seal, unseal
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.stream import seal_stream
from tests.sealing.making import counting

PAGE = Path(__file__).parents[2] / "docs" / "sealing.md"


@pytest.fixture(scope="module")
def example() -> dict[str, bytes]:
    """The table's values by name."""
    text = PAGE.read_text().partition("### Worked example")[2].partition("\n## ")[0]
    rows = re.findall(r'^\| ([^|]+) \| (?:`([0-9a-f]+)`|"([^"]*)") \|$', text, re.MULTILINE)
    return {name: bytes.fromhex(digits) or quoted.encode() for name, digits, quoted in rows}


def lengthy(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def digest(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, sha256).digest()


def header(example: dict[str, bytes], *, flags: int, nonce: bytes) -> bytes:
    key_id = example["key id"]
    return b"NPS1" + bytes([1, flags, len(key_id)]) + key_id + example["salt"] + nonce


def data(example: dict[str, bytes], header: bytes) -> bytes:
    names = ("tenant", "user", "data key", "enclave")
    parts = [b"user", *(example[name] for name in names), b""]
    return b"neo_polystore seal data 1" + lengthy(
        *parts, example["identity"], example["version"], header
    )


def mac(example: dict[str, bytes], data: bytes, tags: bytes) -> bytes:
    size = struct.pack(">Q", len(example["content"]))
    length = struct.pack(">Q", len(data))
    return digest(example["MAC key"], b"neo_polystore seal mac 1" + length + data + tags + size)


def test_the_example_is_complete(example: dict[str, bytes]) -> None:
    assert len(example) == 19


def test_the_keys_are_derived_as_described(example: dict[str, bytes]) -> None:
    assert example["identity"] == lengthy(b"USER_DEFINED", example["label"])
    info = b"neo_polystore seal key 1" + example["identity"]
    extracted = digest(example["salt"], example["master key"])  # RFC 5869, 2.2
    first = digest(extracted, info + b"\1")
    second = digest(extracted, first + info + b"\2")
    assert (example["encryption key"], example["MAC key"]) == (first, second)


def test_the_blob_is_encrypted_as_described(example: dict[str, bytes]) -> None:
    top = header(example, flags=0, nonce=example["nonce"])
    bound = data(example, top)
    assert example["associated data"] == bound
    cipher = AESGCM(example["encryption key"])
    body = cipher.encrypt(example["nonce"], example["content"], bound)
    assert example["blob"] == top + body
    assert example["MAC"] == mac(example, bound, body[-16:])


def test_the_chunks_are_encrypted_as_described(example: dict[str, bytes]) -> None:
    prefix = example["nonce"][:7]
    top = header(example, flags=1, nonce=prefix) + struct.pack(">I", 8)
    bound = data(example, top)
    cipher, content = AESGCM(example["encryption key"]), example["content"]
    one = cipher.encrypt(prefix + b"\0\0\0\0\0", content[:8], bound)
    two = cipher.encrypt(prefix + b"\0\0\0\1\1", content[8:], bound)
    assert example["blob in chunks of 8"] == top + one + two
    assert example["its MAC"] == mac(example, bound, one[-16:] + two[-16:])


def test_the_library_seals_and_opens_the_example(example: dict[str, bytes]) -> None:
    binding = Binding(
        owner=UserOwner(UUID(bytes=example["tenant"]), UUID(bytes=example["user"])),
        data_key=example["data key"].decode(),
        enclave=example["enclave"].decode(),
        identity=Identity(policy="USER_DEFINED", label=example["label"].decode()),
        version=int.from_bytes(example["version"], "big"),
    )
    master = MasterKey(example["key id"].decode(), example["master key"])
    sealed = seal(example["content"], master=master, binding=binding, entropy=counting())
    assert (bytes(sealed.blob), sealed.mac) == (example["blob"], example["MAC"])
    target = io.BytesIO()
    source = io.BytesIO(example["content"])
    found = seal_stream(source, target, master=master, binding=binding, chunk=8, entropy=counting())
    assert (target.getvalue(), found) == (example["blob in chunks of 8"], example["its MAC"])
    for blob, tag in (("blob", "MAC"), ("blob in chunks of 8", "its MAC")):
        opened = unseal(example[blob], example[tag], master=master, binding=binding)
        assert opened == example["content"]
