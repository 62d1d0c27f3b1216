"""The little of a cloud that one VM sees: a metadata server, and the keys that its identity tokens are signed with."""

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt

PROJECT = "a-project"
ZONE = "us-central1-a"
ATTRIBUTES = "/computeMetadata/v1/instance/attributes/"
IDENTITY = "/computeMetadata/v1/instance/service-accounts/default/identity"
ACCESS_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
PREEMPTED = "/computeMetadata/v1/instance/preempted"
NAME = "/computeMetadata/v1/instance/name"


class Signer:
    """Signs identity tokens as the cloud does, and has a certificate to check them with."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keys of the cloud")])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1))
        certificate = builder.not_valid_after(now + timedelta(days=1)).sign(self.key, hashes.SHA256())
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def token(self, name: str, audience: str, **differently: Any) -> str:
        """An identity token of that VM. `differently`: other claims, or other values of them."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        now = int(time.time())
        engine = {"instance_name": name, "zone": ZONE, "project_id": PROJECT, "instance_id": "1"}
        engine |= {claim: differently.pop(claim) for claim in list(differently) if claim in engine}
        claims = {"iss": "https://accounts.google.com", "aud": audience, "iat": now, "exp": now + 3600}
        claims |= {"google": {"compute_engine": engine}, **differently}
        signer = crypt.RSASigner.from_string(pem, key_id="1")  # type: ignore[no-untyped-call]
        return jwt.encode(signer, claims).decode()  # type: ignore[no-untyped-call]


class Cloud:
    """The metadata server of a VM called `name`, over HTTP on a port of its own; preempts the VM on command."""

    def __init__(self, name: str, signer: Signer, attributes: Mapping[str, str]) -> None:
        self.name = name
        self.signer = signer
        self.attributes = dict(attributes)
        self.claims: dict[str, Any] = {}
        """What the VM's identity tokens say differently."""
        self._preempted = threading.Event()
        self._closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cloud": self}))
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._preempted.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def certs_url(self) -> str:
        return f"http://{self.host}/oauth2/v1/certs"

    def preempt(self) -> None:
        self._preempted.set()

    def preempted(self, etag: str | None) -> tuple[str, str]:
        """Value and etag; with the etag of now only once it has changed."""
        if etag == "before":
            self._preempted.wait(30)
        return ("TRUE", "after") if self._preempted.is_set() and not self._closed.is_set() else ("FALSE", "before")


class _Handler(BaseHTTPRequestHandler):
    cloud: Cloud

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        if url.path == "/oauth2/v1/certs":
            self._answer(json.dumps({"1": self.cloud.signer.certificate}))
        elif self.headers.get("Metadata-Flavor") != "Google":
            self.send_error(403)
        elif url.path == NAME:
            self._answer(self.cloud.name)
        elif url.path == IDENTITY and query.get("format") == "full":
            self._answer(self.cloud.signer.token(self.cloud.name, query["audience"], **self.cloud.claims))
        elif url.path == ACCESS_TOKEN:
            self._answer(json.dumps({"access_token": "ya29.secret", "expires_in": 3599, "token_type": "Bearer"}))
        elif url.path == PREEMPTED:
            value, etag = self.cloud.preempted(query.get("last_etag") if query.get("wait_for_change") else None)
            self._answer(value, etag)
        elif url.path.startswith(ATTRIBUTES) and url.path.removeprefix(ATTRIBUTES) in self.cloud.attributes:
            self._answer(self.cloud.attributes[url.path.removeprefix(ATTRIBUTES)])
        else:
            self.send_error(404)

    def _answer(self, value: str, etag: str = "1") -> None:
        body = value.encode()
        try:
            self.send_response(200)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the VM has gone meanwhile

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody wants to read it."""
