"""DCAP quotes of versions 3, 4 and 5, of SGX enclaves and TDX domains, read strictly.

Strictly: known versions and ECDSA P-256 alone, every length exact, reserved bytes zero, nothing
after the end. Reading proves nothing: `verdict` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from neo_polystore.attestation.layout import (
    HEADER_3,
    HEADER_4,
    SGX_REPORT,
    TD_REPORT_10,
    TD_REPORT_15,
    Fields,
    size_of,
)
from neo_polystore.attestation.reader import Reader, Values, bad

Tee = Literal["SGX", "TDX"]

MOST: Final = 64 * 1024
"""Bytes of the largest quote; real ones have about 5,000."""

INTEL: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The vendor id of Intel's quoting enclave."""

_ECDSA_P256: Final = 2
_TEES: Final[dict[int, Tee]] = {0x00: "SGX", 0x81: "TDX"}
_BODIES: Final[dict[int, tuple[Tee, Fields]]] = {
    1: ("SGX", SGX_REPORT),
    2: ("TDX", TD_REPORT_10),
    3: ("TDX", TD_REPORT_15),
}
_CHAIN, _QE_REPORT = 5, 6
_KINDS: Final = range(1, 8)
_SGX_DEBUG, _TDX_DEBUG = 0x2, 0x1


@dataclass(frozen=True, slots=True)
class Quote:
    """`header` and `report` hold the fields of `attestation.layout` by name.

    `certificates` is the PEM text of the PCK chain where the quote brings one.
    """

    version: int
    tee: Tee
    header: Values
    report: Values
    qe_report: Values
    qe_auth_data: bytes
    certification_type: int
    certificates: str | None

    @property
    def is_debug(self) -> bool:
        """Whether whoever runs the machine can look into it."""
        if self.tee == "SGX":
            return bool(int(self.report["attributes"]) & _SGX_DEBUG)
        return bool(int(self.report["td_attributes"]) & _TDX_DEBUG)

    @property
    def mr_enclave(self) -> str:
        """What runs: MRENCLAVE, or MRTD of a domain, in hexadecimal."""
        return _hex(self.report["mr_enclave" if self.tee == "SGX" else "mr_td"])

    @property
    def mr_signer(self) -> str:
        """Who signed it: MRSIGNER, or MROWNER of a domain, in hexadecimal."""
        return _hex(self.report["mr_signer" if self.tee == "SGX" else "mr_owner"])

    @property
    def isv_prod_id(self) -> int:
        """The signer's number of the product; 0 for a domain, which has none."""
        return int(self.report.get("isv_prod_id", 0))

    @property
    def isv_svn(self) -> int:
        """The signer's security version of the product; 0 for a domain, which has none."""
        return int(self.report.get("isv_svn", 0))

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that the enclave itself put in."""
        data = self.report["report_data"]
        assert isinstance(data, bytes)  # noqa: S101 - the layout says so
        return data

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types; bytes in hexadecimal."""
        return {
            "version": self.version,
            "tee": self.tee,
            "debug": self.is_debug,
            "header": _plain(self.header),
            "report": _plain(self.report),
            "qe_report": _plain(self.qe_report),
            "certification_type": self.certification_type,
        }


def parse_quote(data: bytes) -> Quote:
    """Read a quote; raises ValidationError saying what is wrong and at which offset."""
    if len(data) > MOST:
        raise bad("quote", f"{len(data)} bytes, at most {MOST} are read")
    version = Reader(data).number(2, "version")
    if version not in (3, 4, 5):
        raise bad("quote", f"version {version}, expected 3, 4 or 5")
    reader = Reader(data)
    header = reader.fields(HEADER_3 if version == 3 else HEADER_4)
    if (key_type := int(header["key_type"])) != _ECDSA_P256:
        raise bad("quote", f"key type {key_type}, expected 2 (ECDSA P-256)")
    tee = _tee(int(header.get("tee_type", 0)))
    plain = SGX_REPORT if tee == "SGX" else TD_REPORT_10
    body = _described(reader, tee) if version == 5 else plain
    report = reader.fields(body)
    size = reader.number(4, "size of the signature data")
    signed = Reader(reader.take(size, "signature data"), "signature data")
    reader.end()
    return _signature_data(signed, version, tee, header, report)


def _tee(number: int) -> Tee:
    tee = _TEES.get(number)
    if tee is None:
        raise bad("quote", f"TEE type {number:#x}, expected 0 (SGX) or 0x81 (TDX)")
    return tee


def _described(reader: Reader, tee: Tee) -> Fields:
    """The body that version 5 names and measures before it."""
    kind, size = reader.number(2, "body type"), reader.number(4, "body size")
    if kind not in _BODIES:
        raise bad("quote", f"body type {kind}, expected 1, 2 or 3")
    owner, body = _BODIES[kind]
    if owner != tee:
        raise bad("quote", f"body type {kind} belongs to {owner}, the header says {tee}")
    if size != size_of(body):
        raise bad("quote", f"body size {size}, type {kind} has {size_of(body)}")
    return body


def _signature_data(
    reader: Reader, version: int, tee: Tee, header: Values, report: Values
) -> Quote:
    reader.take(64, "signature")
    reader.take(64, "attestation key")
    if version >= 4:
        kind, size = reader.number(2, "certification type"), reader.number(4, "its size")
        if kind != _QE_REPORT:
            raise bad("signature data", f"certification type {kind}, expected 6 (QE report)")
        inner = Reader(reader.take(size, "certification data"), "certification data")
        reader.end()
    else:
        inner = reader
    qe_report = inner.fields(SGX_REPORT)
    inner.take(64, "signature of the QE report")
    auth = inner.take(inner.number(2, "size of QE authentication data"), "QE authentication data")
    kind, size = inner.number(2, "certification type"), inner.number(4, "its size")
    if kind not in _KINDS or kind == _QE_REPORT:
        raise bad("certification data", f"type {kind}, expected 1 to 5 or 7")
    certificates = inner.take(size, "certification data")
    inner.end()
    text = None
    if kind == _CHAIN:
        try:
            # some makers end the text with a NUL, as C does
            text = certificates.removesuffix(b"\0").decode("ascii")
        except UnicodeDecodeError:
            raise bad("certification data", "the certificates are no PEM text") from None
    return Quote(version, tee, header, report, qe_report, auth, kind, text)


def _hex(value: int | bytes) -> str:
    assert isinstance(value, bytes)  # noqa: S101 - the layout says so
    return value.hex()


def _plain(values: Values) -> dict[str, Any]:
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()
    }
