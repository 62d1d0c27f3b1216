"""Whose request is signed by the registrar, and what everybody else is told. A real process, asked over TLS."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from infra.pool import registrar
from infra.pool.certificates import LONGEST_LIFE, Authority, Certificate
from infra.pool.registrar import Refusal, check_versions, own_versions
from infra.processes import marked
from tests.contract.machine.cloud import ZONE, Signer
from tests.contract.machine.life import AUDIENCE, Life
from tests.waiting import eventually
from workers.machine.enrolment import make_key

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Life]:
    """A life with a registrar and nothing else, which expects the machine vm-1."""
    life = Life(tmp_path_factory.mktemp("life"), signer, ExitStack())
    (life.folder / "expected" / "vm-1").write_text(ZONE)
    life.start_registrar()
    yield life
    life.close()
    assert marked(str(life.folder)) == []


def ask(life: Life, request: dict[str, Any] | bytes, path: str = "/certificate") -> tuple[int, dict[str, str]]:
    """Status and answer."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    connection = HTTPSConnection(urlsplit(life.registrar).netloc, context=_context(life), timeout=10)
    connection.request("POST", path, body)
    answer = connection.getresponse()
    try:
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def request(signer: Signer, name: str = "vm-1", audience: str = AUDIENCE, **claims: Any) -> dict[str, Any]:
    token = signer.token(name, audience, **claims)
    return {"token": token, "csr": make_key(name)[1], "versions": own_versions()}


def test_an_expected_machine_gets_a_certificate_in_its_own_name(life: Life, signer: Signer):
    wish = {**request(signer), "csr": make_key("client")[1]}
    status, answer = ask(life, wish)
    assert status == 200
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    assert certificate.subject.rfc4514_string() == "CN=vm-1"
    authority = Authority.of(life.keys).certificate
    certificate.verify_directly_issued_by(authority)
    assert certificate.not_valid_after_utc <= authority.not_valid_after_utc <= datetime.now(UTC) + LONGEST_LIFE
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {oid._name for oid in usage} == {"serverAuth", "clientAuth"}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.public_key() == x509.load_pem_x509_csr(wish["csr"].encode()).public_key()


@pytest.mark.parametrize(
    ("name", "claims", "said"),
    [
        ("vm-2", {}, "vm-2 is not a machine of this life"),
        ("vm-1", {"audience": "spotlift-life-2"}, "identity token is not valid"),
        ("vm-1", {"exp": 1000}, "identity token is not valid"),
        ("vm-1", {"project_id": "another"}, "another project"),
        ("vm-1", {"zone": "europe-west4-a"}, f"expected in zone {ZONE} and asks from europe-west4-a"),
        ("vm-1", {"iss": "https://example.com"}, "not issued by the cloud"),
        ("vm-1", {"google": {}}, "format=full"),
        ("../certificates/authority.key", {}, "none that a machine can have"),
    ],
)
def test_no_other_machine_gets_one(life: Life, signer: Signer, name: str, claims: dict[str, Any], said: str):
    status, answer = ask(life, request(signer, name, **claims))
    assert status == 403
    assert said in answer["error"]


def test_a_token_that_somebody_else_signed_is_worth_nothing_and_is_not_written_down(life: Life, signer: Signer):
    wish = request(Signer())
    assert ask(life, wish)[0] == 403
    assert ask(life, {**request(signer), "token": "not.a-token"})[0] == 403
    assert wish["token"] not in life.log("registrar")
    assert "not.a-token" not in life.log("registrar")


def test_another_version_is_refused_and_the_keeper_hears_why(life: Life, signer: Signer):
    wish = request(signer)
    wish["versions"] = {**own_versions(), "spotlift": "0.0.9"}
    status, answer = ask(life, wish)
    assert status == 409
    assert f"spotlift 0.0.9 instead of {own_versions()['spotlift']}" in answer["error"]
    note = life.folder / "refused" / "vm-1.json"
    assert json.loads(note.read_text()) == {"status": 409, **answer}
    assert ask(life, request(signer))[0] == 200
    assert not note.exists()


@pytest.mark.parametrize(
    ("versions", "good"),
    [
        ({"python": "3.11.7"}, True),
        ({"python": "3.11.9"}, True),
        ({"python": "3.12.7"}, False),
        ({"distributed": "2026.8.1"}, False),
        ({"spotlift": ""}, False),
    ],
)
def test_of_python_the_minor_version_must_agree_and_of_the_rest_everything(versions: dict[str, str], good: bool):
    ours = {"python": "3.11.7", "distributed": "2026.8.0", "spotlift": "0.1.0"}
    if good:
        check_versions("vm-1", ours | versions, ours)
    else:
        with pytest.raises(Refusal, match="instead of"):
            check_versions("vm-1", ours | versions, ours)


def test_a_request_that_is_none_is_refused(life: Life, signer: Signer):
    good = request(signer)
    for wrong in (b"", b"{", b"[]", b'"' + b"[" * 9999, {**good, "csr": 3}, {**good, "versions": None}):
        assert ask(life, wrong)[0] == 400
    assert ask(life, {**good, "csr": "-----BEGIN NONSENSE-----"})[0] == 400
    assert ask(life, {**good, "csr": _rsa_request()}) == (
        400, {"error": "machine vm-1: the certificate signing request is not about a key on the curve P-256"}
    )  # fmt: skip
    assert ask(life, {**good, "csr": _request_with_a_stolen_key()})[0] == 400
    assert ask(life, good, "/") == (404, {"error": "there is nothing but /certificate here"})
    assert ask(life, b"x" * 70_000)[0] == 413
    assert ask(life, good)[0] == 200


def test_idle_connections_do_not_keep_machines_out(life: Life, signer: Signer):
    with ExitStack() as idle:
        for _ in range(40):
            idle.enter_context(_connected(life))
        assert ask(life, request(signer))[0] == 200


def test_whoever_only_trickles_is_hung_up_on(life: Life, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registrar, "DEADLINE", 0.5)
    asked = registrar.Registrar(life.folder, "p", Authority.of(life.keys), own_versions(), lambda _: {})
    with registrar.Server(("127.0.0.1", 0), Certificate.of(life.keys, "registrar"), asked) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with socket.create_connection(server.server_address[:2], timeout=10) as silent:
            assert silent.recv(1) == b""
        plain = socket.create_connection(server.server_address[:2], timeout=10)
        with _context(life).wrap_socket(plain, server_hostname="127.0.0.1") as trickling:
            trickling.sendall(b"POST /certificate HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
            eventually("it is hung up on", lambda: _is_closed_to(trickling, b"x"), within=10)
        server.shutdown()


def test_many_machines_may_ask_at_once(life: Life, signer: Signer):
    names = [f"many-{number}" for number in range(24)]
    for name in names:
        (life.folder / "expected" / name).write_text(ZONE)
    wishes = [request(signer, name) for name in names]
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda wish=wish: statuses.append(ask(life, wish)[0])) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * len(names)


def test_it_is_small_and_has_no_credential_in_its_environment(life: Life):
    process = life.processes.find("registrar")
    assert process is not None
    assert psutil.Process(process.pid).memory_info().rss < 100e6
    assert (life.keys / "authority.key").stat().st_mode & 0o777 == 0o600
    assert "Traceback" not in life.log("registrar")


def test_it_ends_when_it_is_asked_to(tmp_path: Path, signer: Signer):
    life = Life(tmp_path, signer, ExitStack())
    life.start_registrar()
    begun = time.monotonic()
    life.close()
    assert time.monotonic() - begun < 3


def _context(life: Life) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(life.keys / "authority.pem")
    return context


def _connected(life: Life) -> socket.socket:
    at = urlsplit(life.registrar)
    return socket.create_connection((at.hostname, at.port), timeout=10)


def _is_closed_to(connection: ssl.SSLSocket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:
        return True
    return False


def _rsa_request() -> str:
    key = rsa.generate_private_key(65537, 2048)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def _request_with_a_stolen_key() -> str:
    """A request about somebody else's key, which the asker cannot sign with."""
    own, theirs = (ec.derive_private_key(number, ec.SECP256R1()) for number in (1234567, 7654321))
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(own, hashes.SHA256())
    point = [
        key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        for key in (own, theirs)
    ]
    forged = csr.public_bytes(serialization.Encoding.DER).replace(*point)
    return x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM).decode()
