"""Fetches the collateral of a quote from a provisioning caching service (PCCS), or from Intel.

Source: Intel SGX PCK Certificate Service API, version 4, and the PCCS of Intel's DCAP, which
answers it too. What comes is not believed: `verdict` checks all of it against Intel's root.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote
from urllib.request import Request

import dcap_qvl
import orjson
from cryptography import x509

from neo_polystore.attestation.quote import Quote, parse_quote
from neo_polystore.attestation.reader import bad
from neo_polystore.errors import UnavailableError
from neo_polystore.outward import MOST, PATIENCE, checked_url, make_opener

INTEL: Final = "https://api.trustedservices.intel.com"
_INTELS_ROOT_CRL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"


class Fetcher:
    """Asks one service. It is told the platform's FMSPC and nothing else of the quote."""

    def __init__(self, url: str):
        self._base = checked_url(url, name="NEO_PCCS_URL")
        self._opener = make_opener()

    async def collateral(self, quote: bytes) -> bytes:
        """Collateral as JSON. ValidationError for a quote that cannot be read or has no PCK
        certificate, UnavailableError where the service does not answer as it should."""
        return await asyncio.to_thread(self._collateral, parse_quote(quote))

    def _collateral(self, quote: Quote) -> bytes:
        fmspc, authority = _platform(quote)
        sgx, own = f"{self._base}/sgx/certification/v4", quote.tee.lower()
        tee = f"{self._base}/{own}/certification/v4"
        pck_crl, headers = self._get(f"{sgx}/pckcrl?ca={authority}&encoding=der")
        members = {
            "pck_crl": _hex(pck_crl),
            "pck_crl_issuer_chain": _chain(headers, "SGX-PCK-CRL-Issuer-Chain"),
        }
        tcb, headers = self._get(f"{tee}/tcb?fmspc={fmspc}")
        members |= _signed(tcb, "tcbInfo", "tcb_info")
        members["tcb_info_issuer_chain"] = _chain(headers, "TCB-Info-Issuer-Chain")
        identity, headers = self._get(f"{tee}/qe/identity")
        members |= _signed(identity, "enclaveIdentity", "qe_identity")
        members["qe_identity_issuer_chain"] = _chain(headers, "SGX-Enclave-Identity-Issuer-Chain")
        own_crl = _INTELS_ROOT_CRL if self._base == INTEL else f"{sgx}/rootcacrl"
        members["root_ca_crl"] = _hex(self._get(own_crl)[0])
        return orjson.dumps(members)

    def _get(self, url: str) -> tuple[bytes, Mapping[str, str]]:
        try:
            request = Request(url)  # noqa: S310 - the scheme was checked
            with self._opener.open(request, timeout=PATIENCE) as answer:
                return answer.read(MOST), answer.headers
        except HTTPError as error:
            error.close()
            raise _unavailable(f"answered {error.code} to {url}") from None
        except (URLError, HTTPException, OSError) as error:
            raise _unavailable(f"cannot be reached: {type(error).__name__}") from None


def _platform(quote: Quote) -> tuple[str, str]:
    """FMSPC and which of Intel's authorities issued the PCK certificate."""
    if quote.certificates is None:
        raise bad("quote", "it brings no PCK certificate, which tells whose collateral it is")
    pem = quote.certificates.encode()
    try:
        fmspc: Any = dcap_qvl.parse_pck_extension_from_pem(pem).fmspc
        issuer = x509.load_pem_x509_certificates(pem)[0].issuer.rfc4514_string()
    except ValueError:
        raise bad("quote", "its PCK certificate cannot be read") from None
    return bytes(fmspc).hex().upper(), "platform" if "Platform" in issuer else "processor"


def _signed(answer: bytes, name: str, member: str) -> dict[str, str]:
    """The text that the signature is over, exactly as it came, and the signature."""
    try:
        text = answer.decode()
        at = text.index(":", text.index(f'"{name}"')) + 1
        at += len(text[at:]) - len(text[at:].lstrip())
        _, end = json.JSONDecoder().raw_decode(text, at)
        return {member: text[at:end], f"{member}_signature": str(json.loads(text)["signature"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _unavailable(f"answered without {name} and its signature") from None


def _chain(headers: Mapping[str, str], name: str) -> str:
    found = headers.get(name)
    if not found:
        raise _unavailable(f"answered without the header {name}")
    return unquote(found)


def _hex(data: bytes) -> str:
    """A revocation list (DER) in hexadecimal, which it may have come in."""
    if data[:1] == b"\x30" and not _is_hex(data):
        return data.hex()
    if _is_hex(data):
        return data.strip().decode().lower()
    raise _unavailable("answered with no revocation list")


def _is_hex(data: bytes) -> bool:
    try:
        return bool(bytes.fromhex(data.decode("ascii")))
    except ValueError:
        return False


def _unavailable(what: str) -> UnavailableError:
    return UnavailableError(f"the collateral service {what}", operation="attestation")
