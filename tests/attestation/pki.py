"""A small Intel of our own: root, platform certificates, revocation lists, collateral, quotes.

Everything that Intel's services answer with, signed by keys that exist for a test only; so that a
verdict can be had for any TCB status, revocation, date and enclave.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from neo_polystore.attestation.layout import HEADER_3, SGX_REPORT
from neo_polystore.attestation.quote import INTEL
from tests.attestation.making import block, number

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FMSPC = bytes.fromhex("00a067110000")
CPU_SVN = bytes([5] * 16)
PCE_SVN = 15
QE_SIGNER = bytes(range(32))

SGX_EXTENSION = x509.ObjectIdentifier("1.2.840.113741.1.13.1")

Key = ec.EllipticCurvePrivateKey


def signature(key: Key, data: bytes) -> bytes:
    """ECDSA over SHA-256 as 64 bytes."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def public(key: Key) -> bytes:
    """The public point without its first byte."""
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )[1:]


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def _item(suffix: tuple[int, ...], value: bytes) -> bytes:
    dotted = ".".join(map(str, (1, 2, 840, 113741, 1, 13, 1, *suffix)))
    return _der(0x30, _oid(dotted) + value)


def _oid(dotted: str) -> bytes:
    parts = [int(part) for part in dotted.split(".")]
    content = bytes([parts[0] * 40 + parts[1]])
    for part in parts[2:]:
        septets = [part & 0x7F]
        while part := part >> 7:
            septets.append(0x80 | (part & 0x7F))
        content += bytes(reversed(septets))
    return _der(0x06, content)


def sgx_extension() -> bytes:
    """The platform's identity: Intel SGX PCK Certificate and CRL profile specification, 1.3.5."""
    svns = [_item((2, n + 1), _der(0x02, bytes([svn]))) for n, svn in enumerate(CPU_SVN)]
    tcb = b"".join(svns) + _item((2, 17), _der(0x02, bytes([PCE_SVN])))
    tcb += _item((2, 18), _der(0x04, CPU_SVN))
    return _der(
        0x30,
        _item((1,), _der(0x04, bytes(16)))
        + _item((2,), _der(0x30, tcb))
        + _item((3,), _der(0x04, bytes(2)))
        + _item((4,), _der(0x04, FMSPC))
        + _item((5,), _der(0x0A, b"\0")),
    )


@dataclass
class Intel:
    """One platform and what is said of it."""

    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()
    issued: datetime = NOW - timedelta(days=1)
    lasts: timedelta = timedelta(days=30)
    revoked: bool = False
    root: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    authority: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    tcb: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    platform: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def _certificate(self, name: str, key: Key, issuer: str, signer: Key) -> x509.Certificate:
        is_authority = name in ("Root CA", "PCK CA")
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(issuer))
            .public_key(key.public_key())
            .serial_number(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
            .not_valid_before(NOW - timedelta(days=3650))
            .not_valid_after(NOW + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(_usage(is_authority), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        )
        if name == "PCK":
            identity = x509.UnrecognizedExtension(SGX_EXTENSION, sgx_extension())
            builder = builder.add_extension(identity, critical=False)
        return builder.sign(signer, hashes.SHA256())

    @cached_property
    def certificates(self) -> dict[str, x509.Certificate]:
        return {
            "root": self._certificate("Root CA", self.root, "Root CA", self.root),
            "authority": self._certificate("PCK CA", self.authority, "Root CA", self.root),
            "tcb": self._certificate("TCB Signing", self.tcb, "Root CA", self.root),
            "pck": self._certificate("PCK", self.platform, "PCK CA", self.authority),
        }

    def _chain(self, *names: str) -> str:
        pem = serialization.Encoding.PEM
        return "".join(self.certificates[name].public_bytes(pem).decode() for name in names)

    def _revocations(self, issuer: str, key: Key, revoked: list[int]) -> str:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(_name(issuer))
            .last_update(self.issued)
            .next_update(self.issued + timedelta(days=400))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
                critical=False,
            )
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(entry.revocation_date(self.issued).build())
        crl = builder.sign(key, hashes.SHA256())
        return crl.public_bytes(serialization.Encoding.DER).hex()

    @property
    def root_der(self) -> bytes:
        return self.certificates["root"].public_bytes(serialization.Encoding.DER)

    def collateral(self, **changes: Any) -> bytes:
        """As the provisioning service answers."""
        dates = {"issueDate": _text(self.issued), "nextUpdate": _text(self.issued + self.lasts)}
        level = {
            "tcb": {
                "sgxtcbcomponents": [{"svn": svn} for svn in CPU_SVN],
                "pcesvn": PCE_SVN,
            },
            "tcbDate": _text(self.issued),
            "tcbStatus": self.status,
            "advisoryIDs": list(self.advisories),
        }
        info = {
            "id": "SGX",
            "version": 3,
            **dates,
            "fmspc": FMSPC.hex(),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 17,
            "tcbLevels": [level],
        }
        identity = {
            "id": "QE",
            "version": 2,
            **dates,
            "tcbEvaluationDataNumber": 17,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": QE_SIGNER.hex(),
            "isvprodid": 1,
            "tcbLevels": [
                {"tcb": {"isvsvn": 8}, "tcbDate": _text(self.issued), "tcbStatus": "UpToDate"}
            ],
        }
        tcb_text, identity_text = json.dumps(info), json.dumps(identity)
        revoked = [self.certificates["pck"].serial_number] if self.revoked else []
        members = {
            "pck_crl_issuer_chain": self._chain("authority", "root"),
            "root_ca_crl": self._revocations("Root CA", self.root, []),
            "pck_crl": self._revocations("PCK CA", self.authority, revoked),
            "tcb_info_issuer_chain": self._chain("tcb", "root"),
            "tcb_info": tcb_text,
            "tcb_info_signature": signature(self.tcb, tcb_text.encode()).hex(),
            "qe_identity_issuer_chain": self._chain("tcb", "root"),
            "qe_identity": identity_text,
            "qe_identity_signature": signature(self.tcb, identity_text.encode()).hex(),
        }
        return json.dumps(members | changes).encode()

    def quote(self, *, seed: int = 1, **report: bytes | int) -> bytes:
        """A quote of version 3 that this platform vouches for."""
        chance = random.Random(seed)
        attestation = ec.generate_private_key(ec.SECP256R1())
        header = block(HEADER_3, chance, version=3, key_type=2, qe_vendor_id=INTEL, pce_svn=PCE_SVN)
        plain: dict[str, bytes | int] = {"cpu_svn": CPU_SVN, "attributes": 0x5}
        signed = header + block(SGX_REPORT, chance, **(plain | report))
        auth = chance.randbytes(32)
        qe = block(
            SGX_REPORT,
            chance,
            cpu_svn=CPU_SVN,
            misc_select=0,
            attributes=0x11,
            xfrm=0,
            mr_signer=QE_SIGNER,
            isv_prod_id=1,
            isv_svn=8,
            report_data=hashlib.sha256(public(attestation) + auth).digest() + bytes(32),
        )
        chain = self._chain("pck", "authority", "root").encode()
        data = signature(attestation, signed) + public(attestation)
        data += qe + signature(self.platform, qe)
        data += number(len(auth), 2) + auth + number(5, 2) + number(len(chain), 4) + chain
        return signed + number(len(data), 4) + data


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Intel SGX {common}")])


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=not is_authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
