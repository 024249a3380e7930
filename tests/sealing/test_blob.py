"""The pure library: what opens, and that nothing else does."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_polystore.errors import IntegrityError
from neo_polystore.records.sealing import Identity
from neo_polystore.sealing.blob import WHOLE, Sealed, seal, unseal
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.envelope import TAG, Buffer, parse_header
from neo_polystore.sealing.stream import open_stream, seal_stream
from tests.sealing.making import BINDING, IDENTITIES, OTHERS, entropy, master

KEY = master()
STEP = 64
SIZES = (0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP, 5 * STEP + 3)


def chunked(content: bytes, *, key: MasterKey = KEY) -> Sealed:
    target = io.BytesIO()
    mac = seal_stream(
        io.BytesIO(content), target, master=key, binding=BINDING, chunk=STEP, entropy=entropy()
    )
    return Sealed(memoryview(target.getvalue()), mac)


def refused(blob: Buffer, mac: bytes) -> None:
    with pytest.raises(IntegrityError):
        unseal(blob, mac, master=KEY, binding=BINDING)
    with pytest.raises(IntegrityError):
        open_stream(io.BytesIO(blob), io.BytesIO(), mac, master=KEY, binding=BINDING)


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.policy)
@given(content=st.binary(max_size=5000))
def test_what_was_sealed_opens_byte_for_byte(identity: Identity, content: bytes) -> None:
    binding = dataclasses.replace(BINDING, identity=identity)
    sealed = seal(content, master=KEY, binding=binding)
    assert unseal(sealed.blob, sealed.mac, master=KEY, binding=binding) == content


@pytest.mark.parametrize("size", [WHOLE, WHOLE + 1, 3 * WHOLE + 17])
def test_large_blobs_open_from_memory_and_as_a_stream(size: int) -> None:
    content = entropy()(size)
    sealed = seal(content, master=KEY, binding=BINDING)
    assert (parse_header(sealed.blob)[0].chunk is None) == (size <= WHOLE)
    assert unseal(sealed.blob, sealed.mac, master=KEY, binding=BINDING) == content
    target = io.BytesIO()
    open_stream(io.BytesIO(sealed.blob), target, sealed.mac, master=KEY, binding=BINDING)
    assert target.getvalue() == content


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_as_a_stream_opens_both_ways(size: int) -> None:
    content = os.urandom(size)
    sealed = chunked(content)
    assert unseal(sealed.blob, sealed.mac, master=KEY, binding=BINDING) == content
    target = io.BytesIO()
    opened = open_stream(io.BytesIO(sealed.blob), target, sealed.mac, master=KEY, binding=BINDING)
    assert (opened, target.getvalue()) == (size, content)


def test_a_stream_is_opened_from_where_its_file_stands() -> None:
    sealed = chunked(b"x" * 200)
    source, target = io.BytesIO(b"before" + sealed.blob), io.BytesIO()
    source.seek(6)
    open_stream(source, target, sealed.mac, master=KEY, binding=BINDING)
    assert target.getvalue() == b"x" * 200


def test_the_same_content_is_never_sealed_to_the_same_bytes() -> None:
    assert len({bytes(seal(b"x", master=KEY, binding=BINDING).blob) for _ in range(50)}) == 50


@pytest.mark.parametrize("make", [lambda c: seal(c, master=KEY, binding=BINDING), chunked])
def test_no_flipped_bit_of_blob_or_mac_opens(make: Any) -> None:
    sealed = make(entropy()(2 * STEP + 5))
    for place in range(len(sealed.blob) * 8):
        blob = bytearray(sealed.blob)
        blob[place // 8] ^= 1 << place % 8
        refused(blob, sealed.mac)
    for place in range(len(sealed.mac) * 8):
        mac = bytearray(sealed.mac)
        mac[place // 8] ^= 1 << place % 8
        refused(sealed.blob, bytes(mac))


@pytest.mark.parametrize("part", OTHERS)
def test_a_blob_opens_nowhere_else(part: str) -> None:
    sealed = seal(b"secret", master=KEY, binding=BINDING)
    elsewhere = dataclasses.replace(BINDING, **OTHERS[part])
    with pytest.raises(IntegrityError, match="MAC"):
        unseal(sealed.blob, sealed.mac, master=KEY, binding=elsewhere)


def test_a_blob_does_not_open_under_another_key_of_the_same_name() -> None:
    sealed = seal(b"secret", master=KEY, binding=BINDING)
    other = MasterKey(KEY.id, bytes(32))
    with pytest.raises(IntegrityError, match="MAC"):
        unseal(sealed.blob, sealed.mac, master=other, binding=BINDING)


@given(cut=st.integers(0, 10_000), whole=st.booleans())
def test_no_truncated_blob_opens(cut: int, whole: bool) -> None:
    content = entropy()(4 * STEP)
    sealed = seal(content, master=KEY, binding=BINDING) if whole else chunked(content)
    refused(sealed.blob[: cut % len(sealed.blob)], sealed.mac)


@given(tail=st.binary(min_size=1, max_size=200))
def test_nothing_may_follow_the_end(tail: bytes) -> None:
    sealed = chunked(entropy()(4 * STEP))
    refused(bytes(sealed.blob) + tail, sealed.mac)


def pieces(sealed: Sealed) -> tuple[bytes, list[bytes]]:
    """The header and the chunks."""
    _, start = parse_header(sealed.blob)
    step = STEP + TAG
    body = bytes(sealed.blob[start:])
    return bytes(sealed.blob[:start]), [body[at : at + step] for at in range(0, len(body), step)]


def test_chunks_in_another_order_missing_or_twice_are_refused() -> None:
    sealed = chunked(entropy()(4 * STEP))
    header, (a, b, c, d) = pieces(sealed)
    for chunks in ([b, a, c, d], [a, b, d, c], [a, b, c], [a, b, d], [a, a, c, d], [a, b, c, c, d]):
        refused(header + b"".join(chunks), sealed.mac)


def test_chunks_of_another_blob_are_refused() -> None:
    one, other = chunked(b"a" * 4 * STEP), chunked(b"b" * 4 * STEP, key=master(2))
    header, (a, _, c, d) = pieces(one)
    refused(header + a + pieces(other)[1][1] + c + d, one.mac)


def test_truncation_is_refused_even_where_the_mac_would_agree() -> None:
    """The last chunk is marked in its nonce: the cipher refuses what the MAC is blind to."""
    from neo_polystore.sealing.cipher import Cipher

    header, chunks = pieces(chunked(entropy()(4 * STEP)))
    short = header + b"".join(chunks[:3])
    cipher = Cipher(KEY, BINDING, parse_header(short)[0], header)
    for chunk in chunks[:3]:
        cipher.tagged(chunk[-TAG:])
    with pytest.raises(IntegrityError, match="cut off"):
        unseal(short, cipher.mac(3 * STEP), master=KEY, binding=BINDING)


@given(st.binary(max_size=400))
def test_noise_is_never_an_envelope(noise: bytes) -> None:
    refused(noise, bytes(32))
    refused(b"NPS1\x01\x00\x09sealing:1" + noise, bytes(32))
    refused(b"NPS1\x01\x01\x09sealing:1" + noise, bytes(32))


def test_a_wiped_key_derives_nothing() -> None:
    key = master()
    sealed = seal(b"x", master=key, binding=BINDING)
    key.wipe()
    with pytest.raises(ValueError, match="wiped"):
        unseal(sealed.blob, sealed.mac, master=key, binding=BINDING)


def test_keys_and_blobs_do_not_show_what_they_hold() -> None:
    key = MasterKey("k", b"S" * 32)
    sealed = seal(b"PLAIN", master=key, binding=BINDING)
    assert repr(key) == "MasterKey('k')"
    assert repr(sealed) == "Sealed()"
    with pytest.raises(TypeError):
        pickle.dumps(key)
