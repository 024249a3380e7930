"""Collateral from a provisioning service of our own, which answers as Intel's do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote as quoted

import pytest

from neo_polystore.attestation.fetching import Fetcher
from neo_polystore.attestation.policy import Policy
from neo_polystore.attestation.verdict import judge
from neo_polystore.errors import ConfigError, UnavailableError, ValidationError
from tests.attestation.making import make_quote
from tests.attestation.pki import NOW, Intel

Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class Service:
    """What each path answers, and what was asked for."""

    answers: dict[str, Answer]
    url: str = ""
    asked: list[str] = field(default_factory=list)


def answers_of(known: dict[str, str], *, hexadecimal: bool = False) -> dict[str, Answer]:
    def crl(name: str) -> bytes:
        text: str = known[name]
        return text.encode() if hexadecimal else bytes.fromhex(text)

    def signed(name: str, member: str) -> bytes:
        # the signature is over the text as it stands, with its blanks
        text, signature = known[member], known[f"{member}_signature"]
        return f'{{ "{name}" : {text}, "signature":"{signature}"}}'.encode()

    def chain(member: str, header: str) -> dict[str, str]:
        return {header: quoted(known[member])}

    v4 = "certification/v4"
    return {
        f"/sgx/{v4}/pckcrl?ca=processor&encoding=der": (
            200,
            crl("pck_crl"),
            chain("pck_crl_issuer_chain", "SGX-PCK-CRL-Issuer-Chain"),
        ),
        f"/sgx/{v4}/tcb?fmspc=00A067110000": (
            200,
            signed("tcbInfo", "tcb_info"),
            chain("tcb_info_issuer_chain", "TCB-Info-Issuer-Chain"),
        ),
        f"/sgx/{v4}/qe/identity": (
            200,
            signed("enclaveIdentity", "qe_identity"),
            chain("qe_identity_issuer_chain", "SGX-Enclave-Identity-Issuer-Chain"),
        ),
        f"/sgx/{v4}/rootcacrl": (200, crl("root_ca_crl"), {}),
    }


@pytest.fixture(scope="module")
def intel() -> Intel:
    return Intel()


@pytest.fixture(scope="module")
def known(intel: Intel) -> dict[str, str]:
    found: dict[str, str] = json.loads(intel.collateral())
    return found


@pytest.fixture
def service(known: dict[str, str]) -> Iterator[Service]:
    found = Service(answers_of(known))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            status, body, headers = found.answers.get(self.path, (404, b"", {}))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("hexadecimal", [False, True])
async def test_a_quote_is_verified_with_what_was_fetched(
    intel: Intel, known: dict[str, str], service: Service, hexadecimal: bool
) -> None:
    service.answers = answers_of(known, hexadecimal=hexadecimal)
    quote = intel.quote()
    collateral = await Fetcher(f"{service.url}/").collateral(quote)
    found = json.loads(collateral)
    assert {name: found[name] for name in known} == known
    verdict = judge(quote, collateral, at=NOW, policy=Policy(), root=intel.root_der)
    assert verdict.accepted
    assert sorted(service.asked) == sorted(service.answers)


async def test_nothing_of_the_quote_but_its_platform_is_told(
    intel: Intel, service: Service
) -> None:
    quote = intel.quote()
    await Fetcher(service.url).collateral(quote)
    told = " ".join(service.asked)
    assert quote[112:144].hex() not in told.lower()


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(
    "answer",
    [(404, b"", {}), (500, b"x", {}), (200, b"", {}), (200, b"[" * 100_000, {}), (302, b"", {})],
    ids=["missing", "failing", "empty", "nested", "elsewhere"],
)
async def test_a_service_that_answers_otherwise_is_unavailable(
    intel: Intel, service: Service, place: int, answer: Answer
) -> None:
    path = list(service.answers)[place]
    headers = {**service.answers[path][2], "Location": "file:///etc/passwd"}
    service.answers[path] = (answer[0], answer[1], headers)
    with pytest.raises(UnavailableError, match="the collateral service"):
        await Fetcher(service.url).collateral(intel.quote())


async def test_a_service_that_is_away_is_unavailable(intel: Intel) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await Fetcher("http://127.0.0.1:9").collateral(intel.quote())


async def test_a_quote_without_a_certificate_names_no_platform(service: Service) -> None:
    fetcher = Fetcher(service.url)
    for quote in (make_quote("v3 SGX", certification=3), make_quote("v4 TDX"), b"noise"):
        with pytest.raises(ValidationError):
            await fetcher.collateral(quote)
    assert not service.asked


def test_an_address_is_one_of_http() -> None:
    with pytest.raises(ConfigError, match="NEO_PCCS_URL"):
        Fetcher("file:///etc/passwd")
