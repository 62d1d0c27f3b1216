"""Lets the machines of one life of the pool in, and nobody else: `python -m infra.pool.registrar`.

A machine shows an identity token that the cloud has signed, and a request for a certificate. The registrar signs for
machines that the keeper expects (a file `expected/NAME` in the life's folder, with the machine's zone in it), and only
when both sides run the same versions, because Dask needs that. Why it refused a machine is written to
`refused/NAME.json`, where the keeper finds it. It is a process of its own: besides the life's authority, whose key it
needs, there is no secret in its reach.
"""

import argparse
import functools
import json
import logging
import platform
import re
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import google.auth.transport.requests
from google.auth.exceptions import GoogleAuthError, TransportError
from google.oauth2 import id_token

from infra.pool import certificates
from infra.pool.certificates import Authority, BadRequest, Certificate

log = logging.getLogger("spotlift.registrar")

LARGEST_REQUEST = 64 * 1024
_LISTENED_TO = 16 * LARGEST_REQUEST
DEADLINE = 20.0
"""Seconds that one connection may take, from the first byte of its handshake to the last of the answer."""
MOST_AT_ONCE = 64
CERTS_PATIENCE = 5.0
CLOCK_SKEW = 30
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
_MACHINE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


class Refusal(Exception):
    """No certificate; `status` is HTTP's, the message is for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Asking:
    """The machine that a token speaks of."""

    project: str
    zone: str
    name: str


@dataclass(frozen=True)
class Registrar:
    """Decides on requests for one life. `claims_of(token)` verifies a token and raises ValueError if it is none."""

    folder: Path
    project: str
    authority: Authority
    versions: Mapping[str, str]
    claims_of: Callable[[str], Mapping[str, Any]]

    def certify(self, request: Any, now: datetime) -> str:
        """The certificate, PEM. Raises Refusal."""
        token, csr, versions = _parts(request)
        machine = self._identified(token)
        try:
            self._check_expected(machine)
            check_versions(machine.name, versions, self.versions)
            certificate = certificates.sign(self.authority, csr, machine.name, now)
        except BadRequest as error:
            raise self._noted(machine, Refusal(400, f"machine {machine.name}: {error}")) from error
        except Refusal as refusal:
            raise self._noted(machine, refusal) from None
        (self.folder / "refused" / f"{machine.name}.json").unlink(missing_ok=True)
        log.info("certified %s in %s", machine.name, machine.zone)
        return certificate

    def _identified(self, token: str) -> Asking:
        """Who asks, as the cloud vouches for it."""
        try:
            claims = self.claims_of(token)
            engine = claims["google"]["compute_engine"]
            machine = Asking(str(engine["project_id"]), str(engine["zone"]), str(engine["instance_name"]))
        except TransportError as error:
            log.error("the keys of identity tokens cannot be fetched: %s", error)
            raise Refusal(503, "what identity tokens are verified with cannot be fetched; ask again later") from error
        except (ValueError, GoogleAuthError) as error:
            why = str(error).replace(token, "…")[:200]  # some errors quote what must not be written to a log
            raise Refusal(403, f"the identity token is not valid for this life of the pool: {why}") from None
        except (KeyError, TypeError) as error:
            raise Refusal(403, "the identity token does not say which machine it is of (format=full)") from error
        if claims.get("iss") not in ISSUERS:
            raise Refusal(403, "the identity token was not issued by the cloud")
        if machine.project != self.project:
            raise Refusal(403, "the machine belongs to another project")
        if not _MACHINE_NAME.fullmatch(machine.name):
            raise Refusal(403, "the machine's name is none that a machine can have")
        return machine

    def _check_expected(self, machine: Asking) -> None:
        try:
            zone = (self.folder / "expected" / machine.name).read_text().strip()
        except FileNotFoundError:
            raise Refusal(403, f"machine {machine.name} is not a machine of this life of the pool") from None
        if zone != machine.zone:
            raise Refusal(403, f"machine {machine.name} is expected in zone {zone} and asks from {machine.zone}")

    def _noted(self, machine: Asking, refusal: Refusal) -> Refusal:
        """Leave word for the keeper. The name can be believed by now."""
        folder = self.folder / "refused"
        folder.mkdir(exist_ok=True)
        draft = folder / f".{machine.name}.{threading.get_ident()}"
        draft.write_text(json.dumps({"status": refusal.status, "error": str(refusal)}))
        draft.replace(folder / f"{machine.name}.json")
        return refusal


def _parts(request: Any) -> tuple[str, str, dict[str, str]]:
    if isinstance(request, dict):
        token, csr, versions = (request.get(part) for part in ("token", "csr", "versions"))
        if isinstance(token, str) and isinstance(csr, str) and isinstance(versions, dict):
            return token, csr, {str(name): str(said)[:40] for name, said in versions.items()}
    raise Refusal(400, "a request holds a token, a csr and versions")


def own_versions() -> dict[str, str]:
    """What a machine must have as well."""
    return {
        "python": platform.python_version(),
        "distributed": version("distributed"),
        "spotlift": version("spotlift"),
    }


def check_versions(name: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raise Refusal unless machine and controller understand each other. Of Python the minor version counts."""
    wrong = [
        f"{what} {theirs.get(what, 'unknown')} instead of {ours[what]}"
        for what in ours
        if _counts(what, theirs.get(what, "unknown")) != _counts(what, ours[what])
    ]
    if wrong:
        raise Refusal(
            409,
            f"machine {name} has {', '.join(wrong)}: its container image and this controller must come from the same "
            "version of Spotlift; build and push the image again, or set the one that belongs to this version",
        )


def _counts(what: str, version: str) -> str:
    return ".".join(version.split(".")[:2]) if what == "python" else version


def claims(audience: str, certs_url: str, token: str) -> Mapping[str, Any]:
    """The claims of a token that the cloud has signed for that audience.

    Raises ValueError or GoogleAuthError for any other token, TransportError when it cannot be checked at the moment.
    """
    fetch: Any = functools.partial(google.auth.transport.requests.Request(), timeout=CERTS_PATIENCE)
    verified: Mapping[str, Any] = id_token.verify_token(token, fetch, audience, certs_url, CLOCK_SKEW)
    return verified


class Server(HTTPServer):
    """HTTPS with a thread per connection, a bound on their number, and a deadline for each of them."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], keys: Certificate, registrar: Registrar) -> None:
        super().__init__(address, _Handler)
        self.registrar = registrar
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(keys.certificate, keys.key)
        self._places = threading.Semaphore(MOST_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            log.warning("more than %d connections at once; %s must come again", MOST_AT_ONCE, client_address[0])
            self.shutdown_request(request)
            return
        threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()

    def _serve(self, plain: socket.socket, client_address: Any) -> None:
        try:
            plain.settimeout(DEADLINE)
            with (
                self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as secured,
                _deadline(secured),
            ):
                secured.do_handshake()
                self.finish_request(secured, client_address)
        except OSError as error:
            log.info("%s: %s", client_address[0], error)
        finally:
            self._places.release()


@contextmanager
def _deadline(connection: socket.socket) -> Iterator[None]:
    """Hang up after the deadline: that wakes whatever waits for the other side, however slowly it trickles."""

    def hang_up() -> None:
        with suppress(OSError):  # it has ended by itself
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(DEADLINE, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "spotlift"
    sys_version = ""

    def do_POST(self) -> None:
        try:
            request = self._request()
            if self.path != "/certificate":
                raise Refusal(404, "there is nothing but /certificate here")
            certificate = self.server.registrar.certify(request, datetime.now(UTC))
            self._answer(200, {"certificate": certificate})
        except Refusal as refusal:
            log.warning("%s refused (%d): %s", self.client_address[0], refusal.status, refusal)
            self._answer(refusal.status, {"error": str(refusal)})

    def _request(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refusal(411, "a request says how long it is")
        if int(length) > LARGEST_REQUEST:
            self.rfile.read(min(int(length), _LISTENED_TO))  # who is still sending does not hear the answer
            raise Refusal(413, f"a request has at most {LARGEST_REQUEST} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refusal(400, "the request is not JSON") from None

    def _answer(self, status: int, value: Mapping[str, str]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s %s", self.client_address[0], format % args)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.pool.registrar", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the life")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1]")
    parser.add_argument("--port", type=int, default=0, help="port to listen on, 0: any [0]")
    parser.add_argument("--audience", required=True, help="audience of the identity tokens of this life")
    parser.add_argument("--certs-url", required=True, help="where the keys of identity tokens are found")
    parser.add_argument("--project", required=True, help="project that the machines belong to")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    options = arguments(sys.argv[1:] if argv is None else argv)
    keys = options.folder / "certificates"
    registrar = Registrar(
        folder=options.folder,
        project=options.project,
        authority=Authority.of(keys),
        versions=own_versions(),
        claims_of=functools.partial(claims, options.audience, options.certs_url),
    )
    with Server((options.host, options.port), Certificate.of(keys, "registrar"), registrar) as server:
        address = f"https://{options.host}:{server.server_address[1]}"
        draft = options.folder / "registrar.draft"
        draft.write_text(json.dumps({"address": address}))
        draft.replace(options.folder / "registrar.json")
        log.info("listening at %s", address)
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
