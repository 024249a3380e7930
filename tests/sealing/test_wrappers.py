"""One suite for everything that wraps master keys, each against its real service or moto's."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

from neo_polystore.errors import ConfigError, IntegrityError, PolystoreError, UnavailableError
from neo_polystore.keys.kms import KmsWrapper
from neo_polystore.keys.local import LocalWrapper, key_from_file
from neo_polystore.keys.vault import VaultWrapper
from neo_polystore.ports.keys import KeyWrapper
from neo_polystore.records.key_text import key_of_text
from tests.sealing.vault_server import NoVaultError, vault_address

MATERIAL = bytes(range(32))


@pytest.fixture(scope="module")
def kms_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def kms(url: str, key_id: str) -> KmsWrapper:
    return KmsWrapper(
        key_id,
        region="us-east-1",
        endpoint_url=url,
        access_key_id="test",
        secret_access_key="test",
    )


@pytest.fixture(scope="module")
def kms_key(kms_url: str) -> str:
    client = boto3.session.Session().client(
        "kms",
        region_name="us-east-1",
        endpoint_url=kms_url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    return str(client.create_key()["KeyMetadata"]["KeyId"])


@pytest.fixture(scope="module")
def vault() -> Iterator[tuple[str, str]]:
    try:
        with vault_address() as found:
            yield found
    except NoVaultError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["local", "kms", "vault"])
def wrapper(request: pytest.FixtureRequest) -> KeyWrapper:
    if request.param == "kms":
        return kms(request.getfixturevalue("kms_url"), request.getfixturevalue("kms_key"))
    if request.param == "vault":
        url, token = request.getfixturevalue("vault")
        return VaultWrapper("sealing", url=url, token=token)
    return LocalWrapper(bytes(32))


async def test_what_was_wrapped_unwraps_under_its_context(wrapper: KeyWrapper) -> None:
    wrapped = await wrapper.wrap(MATERIAL, context="sealing:1")
    assert MATERIAL not in wrapped
    assert await wrapper.unwrap(wrapped, context="sealing:1") == MATERIAL


async def test_it_unwraps_under_no_other_context(wrapper: KeyWrapper) -> None:
    wrapped = await wrapper.wrap(MATERIAL, context="sealing:1")
    with pytest.raises(IntegrityError):
        await wrapper.unwrap(wrapped, context="sealing:2")


async def test_altered_material_is_refused(wrapper: KeyWrapper) -> None:
    wrapped = bytearray(await wrapper.wrap(MATERIAL, context="sealing:1"))
    wrapped[-3] ^= 1
    with pytest.raises(IntegrityError):
        await wrapper.unwrap(bytes(wrapped), context="sealing:1")


async def test_wrapping_twice_gives_two_texts(wrapper: KeyWrapper) -> None:
    assert await wrapper.wrap(MATERIAL, context="k") != await wrapper.wrap(MATERIAL, context="k")


async def test_another_local_key_is_a_configuration_error() -> None:
    wrapped = await LocalWrapper(bytes(32)).wrap(MATERIAL, context="sealing:1")
    with pytest.raises(ConfigError, match="another key"):
        await LocalWrapper(b"1" * 32).unwrap(wrapped, context="sealing:1")


async def test_an_unknown_kms_key_is_a_configuration_error(kms_url: str) -> None:
    with pytest.raises(ConfigError, match="NotFound"):
        await kms(kms_url, "00000000-0000-0000-0000-000000000000").wrap(MATERIAL, context="k")


@pytest.mark.parametrize("kind", ["kms", "vault"])
async def test_a_service_that_is_away_is_unavailable(kind: str) -> None:
    here = "http://127.0.0.1:9"
    away = kms(here, "k") if kind == "kms" else VaultWrapper("k", url=here, token="secret")
    with pytest.raises(UnavailableError) as caught:
        await away.wrap(MATERIAL, context="k")
    assert "secret" not in str(caught.value)


def test_a_vault_address_is_one_of_http() -> None:
    with pytest.raises(ConfigError, match="NEO_VAULT_URL"):
        VaultWrapper("k", url="file:///etc/passwd", token="t")


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "sealing.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: key_from_file(path, create=True), range(8)))
    assert len(keys) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["sealing.key"]


@pytest.mark.parametrize("text", ["", "short", "zz" * 32, "00" * 31, "00" * 33])
def test_a_wrong_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        key_from_file(path)
    assert not text or text not in str(caught.value)


def test_keys_are_read_in_base64_and_hexadecimal() -> None:
    assert key_of_text("00" * 32, name="K") == bytes(32)
    assert key_of_text("A" * 43 + "=\n", name="K") == bytes(32)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("00" * 32)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        key_from_file(path)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        key_from_file(tmp_path / "nowhere")


def test_no_error_of_a_wrapper_shows_the_material() -> None:
    async def attempt() -> PolystoreError:
        wrapped = await LocalWrapper(bytes(32)).wrap(b"M" * 32, context="k")
        with pytest.raises(PolystoreError) as caught:
            await LocalWrapper(os.urandom(32)).unwrap(wrapped, context="k")
        return caught.value

    assert "MMMM" not in repr(asyncio.run(attempt()))
