"""Parts: what is sealed comes back, and nothing else does."""

from __future__ import annotations

import random

import pytest
import zstandard
from pydantic import SecretStr

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.parts import CHUNK, Sealed, seal, unseal
from neo_polystore.errors import ConfigError, IntegrityError

KEY = BackupKey(b"k" * 32)
PLACE = "20260101T000000-00000000/postgres/t.a.b/0"


def opened(sealed: Sealed, *, key: BackupKey | None = KEY, place: str = PLACE) -> bytes:
    return unseal(
        sealed.data,
        place=place,
        key=key,
        content_bytes=sealed.content_bytes,
        content_sha256=sealed.content_sha256,
    )


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_content_of_any_size_comes_back(size: int, key: BackupKey | None) -> None:
    content = noise(size)
    assert opened(seal(content, place=PLACE, key=key), key=key) == content


def test_a_plain_part_is_an_ordinary_zstd_file() -> None:
    sealed = seal(b"rows\n" * 100, place=PLACE, key=None)
    assert zstandard.decompress(sealed.data) == b"rows\n" * 100


def test_an_encrypted_part_does_not_hold_its_content() -> None:
    assert b"a rare word" not in seal(b"a rare word", place=PLACE, key=KEY).data


def test_the_same_content_at_the_same_place_is_sealed_alike() -> None:
    assert seal(noise(5000), place=PLACE, key=KEY) == seal(noise(5000), place=PLACE, key=KEY)


def test_the_same_content_at_another_place_is_sealed_otherwise() -> None:
    assert seal(b"x", place=PLACE, key=KEY).data != seal(b"x", place=PLACE + "1", key=KEY).data


def test_every_flipped_bit_is_noticed() -> None:
    sealed = seal(b"content", place=PLACE, key=KEY)
    for bit in range(8 * len(sealed.data)):
        data = bytearray(sealed.data)
        data[bit // 8] ^= 1 << bit % 8
        altered = Sealed(bytes(data), "", sealed.content_bytes, sealed.content_sha256)
        with pytest.raises((IntegrityError, ConfigError)):
            opened(altered)


def test_a_part_does_not_open_at_another_place() -> None:
    with pytest.raises(IntegrityError, match="belongs elsewhere"):
        opened(seal(b"content", place=PLACE, key=KEY), place=PLACE + "0")


@pytest.mark.parametrize("cut", [1, CHUNK, CHUNK + 16, CHUNK + 17])
def test_chunks_cannot_be_dropped_from_the_end(cut: int) -> None:
    sealed = seal(noise(3 * CHUNK), place=PLACE, key=KEY)
    shorter = Sealed(sealed.data[:-cut], "", sealed.content_bytes, sealed.content_sha256)
    with pytest.raises(IntegrityError):
        opened(shorter)


def test_another_key_is_named_in_the_complaint() -> None:
    sealed = seal(b"content", place=PLACE, key=KEY)
    with pytest.raises(ConfigError, match=KEY.id):
        opened(sealed, key=BackupKey(b"o" * 32))


def test_a_frame_that_claims_to_be_larger_is_not_decompressed() -> None:
    bomb = zstandard.compress(bytes(1 << 20))
    with pytest.raises(IntegrityError, match="not what was backed up"):
        unseal(bomb, place=PLACE, key=None, content_bytes=10, content_sha256="0" * 64)


@pytest.mark.parametrize("text", ["ab" * 32, "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="])
def test_a_key_is_read_in_hexadecimal_and_base64(text: str) -> None:
    found = BackupKey.of(SecretStr(text))
    assert found is not None
    assert found.id == BackupKey(b"\xab" * 32).id


@pytest.mark.parametrize("text", ["short", "ab" * 16, "!" * 44])
def test_a_key_of_another_length_or_alphabet_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(ConfigError, match="NEO_BACKUP_KEY") as caught:
        BackupKey.of(SecretStr(text))
    assert text not in str(caught.value)
