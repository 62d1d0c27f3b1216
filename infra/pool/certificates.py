"""A certificate authority for one life of a pool, so that only its own members reach the Dask scheduler.

Whoever holds a certificate of a life can run code in its scheduler and on its machines, so there is one authority
per life, its key never leaves this computer and goes with the life's folder, and no certificate is valid for longer
than its authority. Members on this computer get certificate and key by `issue`; a rented machine makes its own key,
which never leaves it, and has a request signed (`sign`, by `infra.pool.registrar`).
"""

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LONGEST_LIFE = dt.timedelta(days=7)
CLOCK_SKEW = dt.timedelta(minutes=10)


class BadRequest(Exception):
    """A request for a certificate that cannot be signed; the message says why."""


@dataclass(frozen=True)
class Certificate:
    """Paths of PEM files: the authority's certificate, a member's certificate and its private key (mode 0600)."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path, member: str) -> "Certificate":
        return cls(folder / "authority.pem", folder / f"{member}.pem", folder / f"{member}.key")


@dataclass(frozen=True)
class Authority:
    """What signs: the certificate and the private key of a life's authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def made(cls, now: dt.datetime) -> "Authority":
        """A new one, valid for the longest life that is allowed. Its key is nowhere but in this value."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("spotlift pool")
        certificate = (
            _builder(name, name, key.public_key(), now, now + LONGEST_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def of(cls, folder: Path) -> "Authority":
        """The one that `make_authority` left there. Raises FileNotFoundError."""
        key = serialization.load_pem_private_key((folder / "authority.key").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{folder / 'authority.key'} is not the key of an authority of ours")
        return cls(x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes()), key)

    def sign(
        self, member: str, key: ec.EllipticCurvePublicKey, hosts: Sequence[str], now: dt.datetime
    ) -> x509.Certificate:
        """A certificate for client and server use that ends with this authority."""
        return (
            _builder(_name(member), self.certificate.subject, key, now, self.certificate.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def make_authority(folder: Path, now: dt.datetime) -> Authority:
    """Make the authority of a life in `folder`: `authority.pem`, and `authority.key` for the registrar (mode 0600)."""
    authority = Authority.made(now)
    _begin(folder, authority)
    _write_key(folder / "authority.key", authority.key)
    return authority


def issue(folder: Path, members: Sequence[str], hosts: Sequence[str], now: dt.datetime) -> None:
    """Make one key and certificate per member in `folder`; find them with `Certificate.of`.

    `hosts`: names or addresses under which members listen. They are signed by the authority that `make_authority` left
    in the folder.
    """
    authority = Authority.of(folder)
    for member in members:
        to = Certificate.of(folder, member)
        key = ec.generate_private_key(ec.SECP256R1())
        to.certificate.write_bytes(_pem(authority.sign(member, key.public_key(), hosts, now)))
        _write_key(to.key, key)


def sign(authority: Authority, csr: str, name: str, now: dt.datetime) -> str:
    """The certificate (PEM) of the machine `name` for the key in its request `csr` (PEM), whatever else that asks for.

    Raises BadRequest when it is no request, or was not signed with its own key, or the key is not one of ours.
    """
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequest("the certificate signing request cannot be read") from error
    if not signed:
        raise BadRequest("the certificate signing request is not signed with its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequest("the certificate signing request is not about a key on the curve P-256")
    return _pem(authority.sign(name, key, (name,), now)).decode()


def _begin(folder: Path, authority: Authority) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "authority.pem").write_bytes(_pem(authority.certificate))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, until: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(until)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
