"""Who holds a certificate of a life can run code in it; so nobody else may come in, nor read a key."""

import socket
import ssl
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.pool import certificates
from infra.pool.certificates import LONGEST_LIFE, Certificate
from infra.pool.hub import Hub
from tests.contract.pool.conftest import now

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other_life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates of another life, made at the same time by the same code."""
    folder = tmp_path_factory.mktemp("other")
    certificates.make_authority(folder, now())
    certificates.issue(folder, ("machine", "client"), ("127.0.0.1", "localhost"), now())
    return folder


def test_a_member_is_let_in(hub: Hub):
    assert _greeting(hub, Certificate.of(hub.keys, "client"))


def test_a_certificate_of_another_life_is_refused(hub: Hub, other_life: Path):
    theirs = Certificate.of(other_life, "client")
    stolen = Certificate(hub.keys / "authority.pem", theirs.certificate, theirs.key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _greeting(hub, stolen)


def test_somebody_without_a_certificate_is_refused(hub: Hub):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _greeting(hub, None)


def test_somebody_who_does_not_encrypt_is_refused(hub: Hub):
    with _connected(hub) as plain:
        plain.sendall(b"\0" * 64)
        assert _is_closed(plain)


def test_a_machine_does_not_fall_for_the_scheduler_of_another_life(hub: Hub, other_life: Path):
    with pytest.raises(ssl.SSLCertVerificationError):
        _greeting(hub, Certificate.of(other_life, "machine"))


def test_keys_are_for_their_owner_only_and_no_machine_has_one_here(hub: Hub):
    keys = sorted(hub.keys.glob("*.key"))
    assert [key.stem for key in keys] == ["authority", "client", "registrar", "scheduler"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE(hub.keys.stat().st_mode) == 0o700


def test_a_certificate_ends_with_the_longest_life(hub: Hub):
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate((hub.keys / "client.pem").read_bytes())
    assert now() < certificate.not_valid_after_utc <= now() + LONGEST_LIFE
    assert certificate.not_valid_before_utc < now()


def _greeting(hub: Hub, certificate: Certificate | None) -> bytes:
    """The first bytes that the scheduler says to somebody with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations((certificate or Certificate.of(hub.keys, "client")).authority)
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    with _connected(hub) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
        # With TLS 1.3 a client hears only with the first bytes that its certificate was refused.
        greeting = secured.recv(8)
    if not greeting:
        raise ConnectionError("the scheduler closed the connection")
    return greeting


def _connected(hub: Hub) -> socket.socket:
    at = urlsplit(hub.scheduler)
    return socket.create_connection((at.hostname, at.port), timeout=10)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
