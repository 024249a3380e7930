"""Plaintext and keys are nowhere but where they belong: looked for in everything that is kept."""

from __future__ import annotations

import base64
import io
import logging
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import structlog

from neo_polystore.errors import PolystoreError
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.polystore import Polystore
from neo_polystore.records.sealing import Opener
from neo_polystore.sealing.rotation import rotate
from tests.sealing.conftest import draft

SECRET = b"PLAINTEXT-" + uuid4().hex.encode() + b"-OF-AN-ENCLAVE"
LABEL = {"policy": "USER_DEFINED", "label": "l"}


def forms(secret: bytes) -> list[bytes]:
    """The bytes as they are, in hexadecimal, and in base64 at each of the three places that they
    may stand at."""
    found = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for shift in range(3):
        whole = base64.b64encode(b"x" * shift + secret)
        found.append(whole[4 * (shift > 0) : -4])  # its ends depend on what stands beside it
    return found


def files_with(folder: Path, looked_for: list[bytes], *, since: float = 0) -> list[str]:
    """Files below a folder, written since then, in which any of it stands."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since
        if stands_in(path.read_bytes(), looked_for)
    ]


def stands_in(content: bytes, looked_for: list[bytes]) -> bool:
    return any(one in content for one in looked_for)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, down to DEBUG, by the product and the libraries under it."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    yield out
    structlog.configure(**before)
    root.removeHandler(handler)
    root.setLevel(level)


async def use(api: httpx.AsyncClient, polystore: Polystore) -> str:
    """Seal, open and fail in every way; the tracebacks of what failed."""
    key, told = uuid4().hex, []
    text = base64.b64encode(SECRET).decode()
    item = {"data_key": key, "content": text, "identity": LABEL}
    opening = {"data_key": key, "opener": {"label": "l"}}
    assert (await api.post("/api/sealed/items", json=item)).status_code == 201
    assert (await api.post("/api/sealed/open", json=opening)).content == SECRET
    query = {"data_key": key, "label": "l"}
    assert (await api.put("/api/sealed/content", params=query, content=SECRET)).status_code == 201
    for bad in (
        {**item, "expected": 9},
        {**item, "identity": {"policy": "MRENCLAVE"}},
        {**item, "content": text + "!"},
        {**item, "content": [text]},
        {**item, "policy_name": "nowhere"},
        {**item, "surplus": 1},
    ):
        answer = await api.post("/api/sealed/items", json=bad)
        assert answer.status_code in (404, 409, 422)
        told.append(answer.text)
    broken = await api.post("/api/sealed/items", content=b'{"content": "' + SECRET)
    told.append(broken.text)
    own = polystore.sealing.of_user(SYSTEM_TENANT, SYSTEM_USER)
    with pytest.raises(PolystoreError) as caught:
        await own.seal(draft(key, SECRET, expected=7))
    told += traceback.format_exception(caught.value)
    with pytest.raises(PolystoreError) as caught:
        await own.open(key, Opener(label="other"))
    told += traceback.format_exception(caught.value)
    told.append((await api.get("/metrics")).text)
    told.append((await api.get("/health/sgx")).text)
    told.append((await api.get("/api/audit?limit=1000")).text)
    return "\n".join(told)


async def test_plaintext_and_keys_are_found_nowhere(
    api: httpx.AsyncClient, polystore: Polystore, data_dir: Path, logged: io.StringIO
) -> None:
    started = time.time() - 1  # what was written before cannot hold what is new
    told = await use(api, polystore)
    ring = polystore.sealing.ring
    material = [bytes((await ring.active())._material)]
    await rotate(polystore.sealing)
    material.append(bytes((await ring.active())._material))
    everything = (told + logged.getvalue()).encode()
    assert "/api/sealed/open" in logged.getvalue()
    kept = {"the content": SECRET, "the old key": material[0], "the new key": material[1]}
    for name, secret in kept.items():
        assert not stands_in(everything, forms(secret)), f"{name} is told"
        found = files_with(data_dir, forms(secret), since=started)
        assert not found, f"{name} lies in a file"


async def test_the_search_finds_what_is_there(data_dir: Path, tmp_path: Path) -> None:
    for place, form in enumerate(forms(SECRET)):
        (tmp_path / str(place)).write_bytes(b"before" + form + b"after")
    (tmp_path / "shifted").write_bytes(base64.b64encode(b"ab" + SECRET + b"more"))
    assert len(files_with(tmp_path, forms(SECRET))) == len(forms(SECRET)) + 1
