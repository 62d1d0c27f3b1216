"""How a machine becomes known to the pool: it proves who it is, and its key is signed.

The machine makes its key itself and only shows a request for a certificate. Who signs it is asked over TLS that
trusts this life's authority and nobody else, so that no identity token is shown to a stranger.
"""

import json
import logging
import platform
import ssl
import time
from importlib.metadata import version
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from workers.machine.metadata import Assignment, Metadata, NotThere

log = logging.getLogger("spotlift.machine")

PATIENCE = 15.0
"""Seconds for one answer of the registrar."""
FIRST_DELAY, LONGEST_DELAY = 0.25, 5.0
"""Seconds between two requests: at first, and at most."""
LARGEST = 1 << 16
_TRY_AGAIN = (408, 425, 429)


class Refused(Exception):
    """The registrar does not let this machine in; asking again would not help."""


class NobodyAnswered(Exception):
    """There was no answer until the deadline."""


def make_key(name: str) -> tuple[str, str]:
    """A new private key and a request to certify it, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), request.public_bytes(pem).decode()


def versions() -> dict[str, str]:
    """What must be the same on both sides of a Dask connection."""
    return {
        "python": platform.python_version(),
        "distributed": version("distributed"),
        "spotlift": version("spotlift"),
    }


def enrol(metadata: Metadata, assignment: Assignment, request: str, patience: float) -> str:
    """The certificate (PEM) for the key in `request`, asked for until there is an answer or patience ends.

    The registrar may come up later than the machine. Raises Refused and NobodyAnswered.
    """
    until = time.monotonic() + patience
    delay = FIRST_DELAY
    while True:
        try:
            return _ask_once(metadata, assignment, request)
        except NotThere as error:
            raise Refused(f"this VM has no identity to show, give it a service account: {error}") from error
        except (OSError, ValueError) as error:
            log.info("no certificate yet: %s", error)
            if time.monotonic() + delay > until:
                raise NobodyAnswered(f"no certificate within {patience:.0f} s: {error}") from error
        time.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)


def _ask_once(metadata: Metadata, assignment: Assignment, request: str) -> str:
    """Raises Refused, NotThere, and OSError or ValueError when nothing was learnt."""
    token = metadata.identity_token(assignment.audience)
    body = json.dumps({"token": token, "csr": request, "versions": versions()}).encode()
    address = f"{assignment.registrar.rstrip('/')}/certificate"
    try:
        with _trusting(assignment.authority).open(
            Request(address, body, {"Content-Type": "application/json"}, method="POST"), timeout=PATIENCE
        ) as answer:
            return str(json.loads(answer.read(LARGEST))["certificate"])
    except KeyError:
        raise ValueError("the registrar's answer holds no certificate") from None
    except HTTPError as error:
        with error:
            reason = _reason(error)
        if 400 <= error.code < 500 and error.code not in _TRY_AGAIN:
            raise Refused(reason) from None
        raise OSError(f"the registrar answers {error.code}: {reason}") from None


def _reason(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read(LARGEST))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the registrar answers {error.code} {error.reason}"


class _NoRedirects(HTTPRedirectHandler):
    """Whoever is asked answers himself: a token is not carried elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _trusting(authority: str) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority)
    return build_opener(ProxyHandler({}), HTTPSHandler(context=context), _NoRedirects())
